package io.vectune.runtime.weight;

import io.vectune.runtime.compute.CacheLines;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.util.Locale;

/// A dense weight in F32, F16 or BF16, usually mapped from a file; computed in f32.
public final class DenseWeight implements Weight {
    private static final DenseKernels KERNELS = DenseKernels.active();

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
        int bytes = tensor.dtype().bytes();
        int count = columnTo - columnFrom;
        for (int row = rowFrom; row < rowTo; row++) {
            long from = bytes * ((long) row * inFeatures + columnFrom);
            KERNELS.decode(
                    tensor.dtype(), tensor.segment(), from, count, tile, tileOffset + (row - rowFrom) * tileStride);
        }
    }

    @Override
    public void readAhead(int rowFrom, int rowTo) {
        long rowBytes = (long) inFeatures * tensor.dtype().bytes();
        CacheLines.read(tensor.segment(), rowFrom * rowBytes, (rowTo - rowFrom) * rowBytes);
    }

    @Override
    public int fewTokens() {
        // docs/benchmarks/few-tokens.md
        return tensor.dtype() == DType.F32 ? 6 : 1;
    }

    @Override
    public int preparedLength(int tokens) {
        return Math.multiplyExact(tokens, inFeatures);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        for (int token = 0; token < x.rows(); token++) {
            KERNELS.prepare(tensor.dtype(), x.segment(), x.rowOffset(token), inFeatures, prepared, token * inFeatures);
        }
    }

    @Override
    public int units() {
        return (outFeatures + DenseKernels.ROWS - 1) / DenseKernels.ROWS;
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        long rowBytes = (long) inFeatures * tensor.dtype().bytes();
        for (int unit = unitFrom; unit < unitTo; unit++) {
            int row = unit * DenseKernels.ROWS;
            int rows = Math.min(DenseKernels.ROWS, outFeatures - row);
            for (int token = 0; token < tokens; token++) {
                KERNELS.product(
                        tensor.dtype(),
                        tensor.segment(),
                        row * rowBytes,
                        rows,
                        inFeatures,
                        prepared,
                        token * inFeatures,
                        y.segment(),
                        y.rowOffset(token) + 4L * row);
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
