package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/// Appends columns to the matrix (rows, columns) of the scales, or the zero points, of a weight. Old values keep the
/// bits that they decode to.
///
/// Quantized values keep their 8-bit codes, and each of their groups keeps its scale and zero point; only how many
/// values such a group holds may change, as no group may hold values of two old groups, or old and new ones:
/// - groups on axis 0 (`value f belongs to group f % groups`: what hqq makes of scales), and one group for all (what it
///   makes of zero points): always kept. A new group holds values of one column: rows `r, r + k, r + 2k, ...` with `k =
///   groups / gcd(groups, columns)`. These are `rows / k` values, as many as before wherever the group size divides the
///   rows; a single group becomes one a column. The new columns have groups of their own (scale 1, zero point 0), so
///   that they decode to exactly 1 and 0.
/// - groups on axis 1 (`f / size`, which hqq makes only when told): new groups of `gcd(size, old columns, new columns)`
///   values, as a longer run would mix old and new ones.
///
/// They become floats of the compute type, with the same values, where that takes less memory than so many small groups
/// (one value a group on axis 1 with one group a row), and where they are codes of another packing than `8bit_u8`.
final class HqqMetaExpansion {
    private final HqqGeometry wide;
    private final DType computeDtype;
    private final int rows;
    private final int oldColumns;
    private final int newColumns;

    /// @param old geometry of the weight, whose groups do not straddle rows (axis 1) or columns (axis 0)
    /// @param wide geometry of the wider weight
    /// @param computeDtype type of values that become floats
    HqqMetaExpansion(HqqGeometry old, HqqGeometry wide, DType computeDtype) {
        this.wide = wide;
        this.computeDtype = computeDtype;
        this.rows = old.axis() == 1 ? old.outFeatures() : old.outFeatures() / old.groupSize();
        this.oldColumns = old.groups() / rows;
        this.newColumns = wide.groups() / rows;
    }

    /// The wider values.
    ///
    /// @param fresh the value of new columns: 0 or 1
    HqqMeta widen(HqqMeta old, int fresh, Arena arena) {
        return switch (old) {
            case HqqMeta.Plain plain -> plain(plain.values(), fresh, arena);
            case HqqMeta.Quantized quantized ->
                    quantized(quantized.weight(), fresh, arena).orElseGet(() -> decoded(quantized, fresh, arena));
        };
    }

    private HqqMeta decoded(HqqMeta.Quantized old, int fresh, Arena arena) {
        Tensor values =
                Tensor.of(DType.F32, new long[] {rows, oldColumns}, old.decoded().asSlice(0, 4L * rows * oldColumns));
        return plain(FloatCast.of(arena, values, computeDtype), fresh, arena);
    }

    private HqqMeta plain(Tensor old, int fresh, Arena arena) {
        Tensor values = Tensor.allocate(arena, old.dtype(), wide.parameterShape());
        appendColumns(old.segment(), values.segment(), old.dtype().bytes());
        for (int row = 0; fresh != 0 && row < rows; row++) {
            for (int column = oldColumns; column < newColumns; column++) {
                FloatCast.set(values, (long) row * newColumns + column, fresh);
            }
        }
        return HqqMeta.plain(arena, values);
    }

    private void appendColumns(MemorySegment old, MemorySegment wide, int bytes) {
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(
                    old,
                    (long) row * oldColumns * bytes,
                    wide,
                    (long) row * newColumns * bytes,
                    (long) oldColumns * bytes);
        }
    }

    private Optional<HqqMeta> quantized(HqqWeight old, int fresh, Arena arena) {
        if (old.geometry().packing() != HqqPacking.U8_8
                || !(old.scaleMeta() instanceof HqqMeta.Plain scales)
                || !(old.zeroMeta() instanceof HqqMeta.Plain zeros)) {
            return Optional.empty();
        }
        HqqGeometry geometry = metaGeometry(old.geometry());
        int bytes = scales.values().dtype().bytes();
        if (geometry.elements() + 2L * geometry.groups() * bytes >= geometry.elements() * computeDtype.bytes()) {
            return Optional.empty();
        }
        MemorySegment codes = arena.allocate(geometry.packedBytes(), Tensor.ALIGNMENT_BYTES);
        appendColumns(old.packed(), codes, 1);
        for (int row = 0; fresh != 0 && row < rows; row++) {
            for (int column = oldColumns; column < newColumns; column++) {
                // With scale 1 and zero point 0 a code is its value.
                codes.set(Tensor.BYTE, (long) row * newColumns + column, (byte) fresh);
            }
        }
        HqqConfig config = old.config().withGroups(geometry.groupSize(), geometry.axis());
        return Optional.of(
                HqqMeta.quantized(
                        arena,
                        new HqqWeight(
                                config,
                                geometry,
                                codes,
                                ofGroups(scales.values(), old.geometry(), geometry, 1, arena),
                                ofGroups(zeros.values(), old.geometry(), geometry, 0, arena))));
    }

    private HqqGeometry metaGeometry(HqqGeometry old) {
        boolean acrossRows = old.axis() == 0 || old.groups() == 1;
        int size =
                acrossRows
                        ? rows / (old.groups() / gcd(old.groups(), oldColumns))
                        : gcd(old.groupSize(), gcd(oldColumns, newColumns));
        long[] shape = wide.parameterShape();
        return new HqqGeometry(
                Math.toIntExact(shape[0]), Math.toIntExact(shape[1]), size, acrossRows ? 0 : 1, old.packing());
    }

    /// The scale or zero point of each group of the wider values: that of the old group which its values come from.
    private HqqMeta ofGroups(Tensor old, HqqGeometry before, HqqGeometry geometry, int fresh, Arena arena) {
        Tensor values = Tensor.allocate(arena, old.dtype(), geometry.parameterShape());
        for (int group = 0; group < geometry.groups(); group++) {
            long first = geometry.axis() == 1 ? (long) group * geometry.groupSize() : group;
            long row = first / newColumns;
            long column = first % newColumns;
            float value = fresh;
            if (column < oldColumns) {
                value = old.getFloat(before.groupOf(row * oldColumns + column));
            }
            FloatCast.set(values, group, value);
        }
        return HqqMeta.plain(arena, values);
    }

    private static int gcd(int a, int b) {
        return b == 0 ? a : gcd(b, a % b);
    }
}
