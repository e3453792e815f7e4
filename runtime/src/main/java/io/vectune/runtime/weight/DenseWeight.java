package io.vectune.runtime.weight;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/// A dense weight in F32, F16 or BF16, usually mapped from a file; computed in f32.
public final class DenseWeight implements Weight {
    private final Tensor tensor;
    private final int outFeatures;
    private final int inFeatures;
    private final WeightNorms norms = new WeightNorms(this);

    /// @param tensor (outFeatures, inFeatures), F32, F16 or BF16
    public DenseWeight(Tensor tensor) {
        if (tensor.axes() != 2) {
            throw new IllegalArgumentException("weight: expected 2 axes (outFeatures, inFeatures), found " + tensor);
        }
        if (tensor.dtype() != DType.F32 && tensor.dtype() != DType.F16 && tensor.dtype() != DType.BF16) {
            throw new IllegalArgumentException("weight: expected F32, F16 or BF16, found " + tensor);
        }
        this.tensor = tensor;
        this.outFeatures = Math.toIntExact(tensor.size(0));
        this.inFeatures = Math.toIntExact(tensor.size(1));
    }

    /// The stored tensor.
    public Tensor tensor() {
        return tensor;
    }

    @Override
    public int outFeatures() {
        return outFeatures;
    }

    @Override
    public int inFeatures() {
        return inFeatures;
    }

    @Override
    public void decode(
            int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride) {
        MemorySegment segment = tensor.segment();
        int count = columnTo - columnFrom;
        for (int row = rowFrom; row < rowTo; row++) {
            long element = (long) row * inFeatures + columnFrom;
            int to = tileOffset + (row - rowFrom) * tileStride;
            switch (tensor.dtype()) {
                case F32 -> MemorySegment.copy(segment, Tensor.FLOAT, 4 * element, tile, to, count);
                case BF16 -> {
                    for (int i = 0; i < count; i++) {
                        tile[to + i] = Float.intBitsToFloat(segment.get(Tensor.SHORT, 2 * (element + i)) << 16);
                    }
                }
                default -> {
                    for (int i = 0; i < count; i++) {
                        tile[to + i] = Float.float16ToFloat(segment.get(Tensor.SHORT, 2 * (element + i)));
                    }
                }
            }
        }
    }

    @Override
    public int fewTokens() {
        return 1;
    }

    @Override
    public int preparedLength(int tokens) {
        return Math.multiplyExact(tokens, inFeatures);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        for (int token = 0; token < x.rows(); token++) {
            MemorySegment.copy(x.segment(), Tensor.FLOAT, x.rowOffset(token), prepared, token * inFeatures, inFeatures);
        }
    }

    @Override
    public int units() {
        return outFeatures;
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        for (int token = 0; token < tokens; token++) {
            for (int row = unitFrom; row < unitTo; row++) {
                float sum = 0;
                for (int column = 0; column < inFeatures; column++) {
                    sum =
                            Math.fma(
                                    tensor.getFloat((long) row * inFeatures + column),
                                    prepared[token * inFeatures + column],
                                    sum);
                }
                y.set(token, row, sum);
            }
        }
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return tensor.byteSize();
    }

    @Override
    public String description() {
        return tensor.dtype().name().toLowerCase(Locale.ROOT);
    }
}
