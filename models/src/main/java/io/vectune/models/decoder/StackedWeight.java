package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import io.vectune.runtime.weight.WeightNorms;
import java.util.List;
import java.util.stream.Collectors;

/// Weights of layers that read the same input, seen as one weight of all their output features: one product for q, k
/// and v, one for gate and up. A view, no copy.
final class StackedWeight implements Weight {
    private final List<Weight> parts;
    private final int[] rowStarts;
    private final int[] unitStarts;
    private final WeightNorms norms = new WeightNorms(this);

    private StackedWeight(List<Weight> parts) {
        this.parts = List.copyOf(parts);
        this.rowStarts = new int[parts.size() + 1];
        this.unitStarts = new int[parts.size() + 1];
        for (int index = 0; index < parts.size(); index++) {
            rowStarts[index + 1] = Math.addExact(rowStarts[index], parts.get(index).outFeatures());
            unitStarts[index + 1] = Math.addExact(unitStarts[index], parts.get(index).units());
        }
    }

    /// Whether these weights can share one product: same input, same format, so that one prepared input serves all.
    static boolean canStack(List<Weight> parts) {
        Weight first = parts.getFirst();
        return parts.stream()
                .allMatch(part ->
                        part.getClass() == first.getClass()
                                && part.inFeatures() == first.inFeatures()
                                && part.fewTokens() == first.fewTokens()
                                && part.preparedLength(1) == first.preparedLength(1)
                                && part.description().equals(first.description()));
    }

    static Weight of(List<Weight> parts) {
        return parts.size() == 1 ? parts.getFirst() : new StackedWeight(parts);
    }

    @Override
    public int outFeatures() {
        return rowStarts[parts.size()];
    }

    @Override
    public int inFeatures() {
        return parts.getFirst().inFeatures();
    }

    @Override
    public void decode(
            int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride) {
        for (int index = 0; index < parts.size(); index++) {
            int from = Math.max(rowFrom, rowStarts[index]);
            int to = Math.min(rowTo, rowStarts[index + 1]);
            if (from < to) {
                parts.get(index)
                        .decode(
                                from - rowStarts[index],
                                to - rowStarts[index],
                                columnFrom,
                                columnTo,
                                tile,
                                tileOffset + (from - rowFrom) * tileStride,
                                tileStride);
            }
        }
    }

    @Override
    public void readAhead(int rowFrom, int rowTo) {
        for (int index = 0; index < parts.size(); index++) {
            int from = Math.max(rowFrom, rowStarts[index]);
            int to = Math.min(rowTo, rowStarts[index + 1]);
            if (from < to) {
                parts.get(index).readAhead(from - rowStarts[index], to - rowStarts[index]);
            }
        }
    }

    @Override
    public int blockColumns() {
        return parts.getFirst().blockColumns();
    }

    @Override
    public int fewTokens() {
        return parts.getFirst().fewTokens();
    }

    @Override
    public int preparedLength(int tokens) {
        return parts.getFirst().preparedLength(tokens);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        parts.getFirst().prepare(x, prepared);
    }

    @Override
    public int units() {
        return unitStarts[parts.size()];
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        for (int index = 0; index < parts.size(); index++) {
            int from = Math.max(unitFrom, unitStarts[index]);
            int to = Math.min(unitTo, unitStarts[index + 1]);
            if (from < to) {
                parts.get(index)
                        .multiplyPrepared(
                                prepared,
                                tokens,
                                y.columns(rowStarts[index], rowStarts[index + 1]),
                                from - unitStarts[index],
                                to - unitStarts[index]);
            }
        }
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return parts.stream().mapToLong(Weight::storageBytes).sum();
    }

    @Override
    public long fusedBytes() {
        return parts.stream().mapToLong(Weight::fusedBytes).sum();
    }

    @Override
    public String description() {
        return parts.stream().map(Weight::description).distinct().collect(Collectors.joining(" + "));
    }
}
