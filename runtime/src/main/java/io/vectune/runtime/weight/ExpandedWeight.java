package io.vectune.runtime.weight;

import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;

/// A weight of any format with more input features, all zero: W' = [W | 0].
///
///     y = x W'ᵀ = x[:, 0:inFeatures of W] Wᵀ
///
/// Nothing is copied, decoded or quantized again: the stored weight stays as it is, products skip the new features, and
/// [#base] gives the original object back.
public final class ExpandedWeight implements Weight {
    private final Weight base;
    private final int inFeatures;
    private final WeightNorms norms = new WeightNorms(this);

    private ExpandedWeight(Weight base, int inFeatures) {
        this.base = base;
        this.inFeatures = inFeatures;
    }

    /// A wider view of a weight; a view of a view is a view of the original.
    ///
    /// @throws IllegalArgumentException unless `inFeatures` is at least that of the weight
    public static Weight of(Weight weight, int inFeatures) {
        if (inFeatures < weight.inFeatures()) {
            throw new IllegalArgumentException(
                    "expanded weight: expected at least "
                            + weight.inFeatures()
                            + " input features, as the weight has them, found "
                            + inFeatures);
        }
        if (inFeatures == weight.inFeatures()) {
            return weight;
        }
        return new ExpandedWeight(weight instanceof ExpandedWeight wide ? wide.base : weight, inFeatures);
    }

    /// The original weight.
    public Weight base() {
        return base;
    }

    @Override
    public int outFeatures() {
        return base.outFeatures();
    }

    @Override
    public int inFeatures() {
        return inFeatures;
    }

    @Override
    public void decode(
            int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride) {
        int stored = Math.clamp(base.inFeatures(), columnFrom, columnTo);
        if (stored > columnFrom) {
            base.decode(rowFrom, rowTo, columnFrom, stored, tile, tileOffset, tileStride);
        }
        for (int row = rowFrom; row < rowTo; row++) {
            int at = tileOffset + (row - rowFrom) * tileStride - columnFrom;
            Arrays.fill(tile, at + stored, at + columnTo, 0);
        }
    }

    @Override
    public void readAhead(int rowFrom, int rowTo) {
        base.readAhead(rowFrom, rowTo);
    }

    @Override
    public int blockColumns() {
        return base.blockColumns();
    }

    @Override
    public int fewTokens() {
        return base.fewTokens();
    }

    @Override
    public int preparedLength(int tokens) {
        return base.preparedLength(tokens);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        base.prepare(x.columns(0, base.inFeatures()), prepared);
    }

    @Override
    public int units() {
        return base.units();
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        base.multiplyPrepared(prepared, tokens, y, unitFrom, unitTo);
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return base.storageBytes();
    }

    @Override
    public long fusedBytes() {
        return base.fusedBytes();
    }

    @Override
    public String description() {
        return base.description() + ", widened from " + base.inFeatures() + " inputs";
    }
}
