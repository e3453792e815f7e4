package io.vectune.models.checkpoint;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;

/// How much of an adapter's change of a quantized weight W a merge back into the same format kept. With D the change,
/// and Q' - Q what the stored weight really changed by:
///
///     kept  = <Q' - Q, D> / |D|^2         the share of the change that is there: 1 for all of it
///     noise = |Q' - Q - D| / |D|          what else came, in the same unit
///
/// @param layer its name
/// @param changeSquares |D|^2
/// @param storedSquares |Q' - Q|^2
/// @param product <Q' - Q, D>
public record MergedLayer(String layer, double changeSquares, double storedSquares, double product) {
    /// Compares.
    ///
    /// @param before Q
    /// @param after Q'
    /// @param merged Q + D
    static MergedLayer of(String layer, Weight before, Weight after, Matrix merged) {
        int columns = merged.columns();
        float[] was = new float[columns];
        float[] is = new float[columns];
        double changes = 0;
        double stored = 0;
        double product = 0;
        for (int row = 0; row < merged.rows(); row++) {
            before.decode(row, row + 1, 0, columns, was, 0, columns);
            after.decode(row, row + 1, 0, columns, is, 0, columns);
            for (int column = 0; column < columns; column++) {
                double change = (double) merged.get(row, column) - was[column];
                double moved = (double) is[column] - was[column];
                changes += change * change;
                stored += moved * moved;
                product += change * moved;
            }
        }
        return new MergedLayer(layer, changes, stored, product);
    }

    /// |D|.
    public double changeNorm() {
        return Math.sqrt(changeSquares);
    }

    /// The norm of the kept part over that of the change; negative if the weight moved the other way.
    public double kept() {
        return changeSquares == 0 ? 1 : product / changeSquares;
    }

    /// |Q' - Q| / |D|: how far the stored weight moved at all.
    public double moved() {
        return changeSquares == 0 ? 1 : Math.sqrt(storedSquares / changeSquares);
    }

    /// What the stored weight differs from the wanted one by, over the norm of the change.
    public double noise() {
        return changeSquares == 0
                ? 0
                : Math.sqrt(Math.max(0, storedSquares - 2 * product + changeSquares) / changeSquares);
    }

    /// All layers together.
    public static MergedLayer total(List<MergedLayer> layers) {
        return new MergedLayer(
                "total",
                layers.stream().mapToDouble(MergedLayer::changeSquares).sum(),
                layers.stream().mapToDouble(MergedLayer::storedSquares).sum(),
                layers.stream().mapToDouble(MergedLayer::product).sum());
    }
}
