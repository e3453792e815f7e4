package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;

/// HQQ+: the zero points of a weight written as a low-rank term beside a weight with one fixed zero point.
///
///     W = (code - z0) * scale  +  B A,    A[k, i] = 1 where column i is in group k of a row, else 0
///                                          B[o, k] = (z0 - zeroPoint[o, k]) * scale[o, k]
///
/// Exact in real numbers for axis 1 with groups that stay in one row: of rank 1 with one group a row, of rank
/// n = inFeatures / groupSize in general. x Aᵀ are the sums of the inputs over the groups: no products. Folded into a
/// LoRA of rank r, the adapter has rank r + n, which is what tuning then improves.
///
/// @param loraA (n, inFeatures)
/// @param loraB (outFeatures, n)
public record ZeroPointTerm(Matrix loraA, Matrix loraB) {
    /// The term of a weight.
    ///
    /// @param fixedZeroPoint z0: 0, or the middle of the codes
    /// @param arena holds the result
    /// @throws VectuneException if groups do not stay in one row
    public static ZeroPointTerm of(HqqWeight weight, float fixedZeroPoint, Arena arena) {
        HqqGeometry geometry = weight.geometry();
        int in = geometry.inFeatures();
        int groupSize = geometry.groupSize();
        if (geometry.axis() != 1 || in % groupSize != 0) {
            throw new VectuneException(
                    "zero points as a low-rank term: expected axis 1 and a group size that divides inFeatures="
                            + in
                            + ", found "
                            + weight.description());
        }
        int groups = in / groupSize;
        Matrix loraA = Matrix.allocate(arena, groups, in);
        Matrix loraB = Matrix.allocate(arena, geometry.outFeatures(), groups);
        for (int i = 0; i < in; i++) {
            loraA.set(i / groupSize, i, 1f);
        }
        for (int o = 0; o < geometry.outFeatures(); o++) {
            for (int k = 0; k < groups; k++) {
                int group = o * groups + k;
                loraB.set(o, k, (fixedZeroPoint - weight.zeroPoint(group)) * weight.scale(group));
            }
        }
        return new ZeroPointTerm(loraA, loraB);
    }

    /// The term and a LoRA in one: A stacked below the adapter's, B beside it, taken through the adapter's scaling.
    ///
    ///     B' A' * scaling = loraB loraA * scaling + this term
    ///
    /// @param a (rank, inFeatures)
    /// @param b (outFeatures, rank)
    /// @param scaling of the adapter, not 0
    public ZeroPointTerm foldedInto(Matrix a, Matrix b, float scaling, Arena arena) {
        int rank = a.rows();
        int groups = loraA.rows();
        if (a.columns() != loraA.columns() || b.rows() != loraB.rows() || b.columns() != rank) {
            throw new IllegalArgumentException(
                    "adapter: expected A (rank, %d) and B (%d, rank), found (%d, %d) and (%d, %d)"
                            .formatted(loraA.columns(), loraB.rows(), rank, a.columns(), b.rows(), b.columns()));
        }
        if (scaling == 0 || !Float.isFinite(scaling)) {
            throw new IllegalArgumentException("scaling: expected a finite number that is not 0, found " + scaling);
        }
        Matrix bothA = Matrix.allocate(arena, rank + groups, a.columns());
        Matrix bothB = Matrix.allocate(arena, b.rows(), rank + groups);
        bothA.rows(0, rank).copyFrom(a);
        bothA.rows(rank, rank + groups).copyFrom(loraA);
        bothB.columns(0, rank).copyFrom(b);
        for (int o = 0; o < b.rows(); o++) {
            for (int k = 0; k < groups; k++) {
                bothB.set(o, rank + k, loraB.get(o, k) / scaling);
            }
        }
        return new ZeroPointTerm(bothA, bothB);
    }

    /// The same codes and scales with the one fixed zero point.
    public static HqqWeight withFixedZeroPoint(HqqWeight weight, float fixedZeroPoint, Arena arena) {
        HqqGeometry geometry = weight.geometry();
        Tensor zero = Tensor.allocate(arena, weight.computeDtype(), geometry.parameterShape());
        for (int group = 0; group < geometry.groups(); group++) {
            FloatCast.set(zero, group, fixedZeroPoint);
        }
        return new HqqWeight(
                weight.config().withMeta(weight.config().scaleMeta(), HqqMetaConfig.PLAIN),
                geometry,
                weight.packed(),
                weight.scaleMeta(),
                HqqMeta.plain(arena, zero));
    }
}
