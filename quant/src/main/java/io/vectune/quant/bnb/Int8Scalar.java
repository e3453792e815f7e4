package io.vectune.quant.bnb;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The scalar tier: the formulas, element by element.
final class Int8Scalar implements Int8Kernels {
    @Override
    public void decode(MemorySegment codes, long offset, int count, float absmax, float[] tile, int tileOffset) {
        for (int i = 0; i < count; i++) {
            tile[tileOffset + i] = codes.get(Tensor.BYTE, offset + i) * absmax * Int8Weight.STEP;
        }
    }

    @Override
    public float dot(MemorySegment codes, long offset, int count, float[] x, int xOffset) {
        float sum = 0;
        for (int i = 0; i < count; i++) {
            sum = Math.fma((float) codes.get(Tensor.BYTE, offset + i), x[xOffset + i], sum);
        }
        return sum;
    }

    @Override
    public void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset) {
        MemorySegment.copy(x, Tensor.FLOAT, offset, prepared, preparedOffset, inFeatures);
    }

    @Override
    public void multiply(Int8Weight weight, int rowFrom, int rowTo, float[] prepared, int tokens, Matrix y) {
        int inFeatures = weight.inFeatures();
        for (int token = 0; token < tokens; token++) {
            for (int row = rowFrom; row < rowTo; row++) {
                float sum = dot(weight.codes(), (long) row * inFeatures, inFeatures, prepared, token * inFeatures);
                y.set(token, row, sum * weight.absmax(row) * Int8Weight.STEP);
            }
        }
    }
}
