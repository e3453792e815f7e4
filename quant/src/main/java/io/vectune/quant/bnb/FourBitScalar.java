package io.vectune.quant.bnb;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The scalar tier: the formulas, element by element.
final class FourBitScalar implements FourBitKernels {
    private static final float LEAST_ABSMAX = 1e-38f;

    @Override
    public void decode(FourBitWeight weight, long element, int count, float[] tile, int tileOffset) {
        for (int i = 0; i < count; i++) {
            tile[tileOffset + i] = weight.value(element + i);
        }
    }

    @Override
    public int fewTokens(int inFeatures) {
        return 1;
    }

    @Override
    public void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset) {
        MemorySegment.copy(x, Tensor.FLOAT, offset, prepared, preparedOffset, inFeatures);
    }

    @Override
    public void multiply(
            FourBitWeight weight, int rowFrom, int rowTo, float[] prepared, int from, MemorySegment y, long yOffset) {
        int inFeatures = weight.inFeatures();
        for (int row = rowFrom; row < rowTo; row++) {
            float sum = 0;
            for (int column = 0; column < inFeatures; column++) {
                sum = Math.fma(weight.value((long) row * inFeatures + column), prepared[from + column], sum);
            }
            y.set(Tensor.FLOAT, yOffset + 4L * (row - rowFrom), sum);
        }
    }

    @Override
    public float absmax(float[] values, int from, int to) {
        float absmax = 0;
        for (int i = from; i < to; i++) {
            absmax = Math.max(absmax, Math.abs(values[i]));
        }
        return absmax;
    }

    @Override
    public void codes(Codebook codebook, float[] values, int from, int to, float absmax, boolean full, byte[] codes) {
        float divisor = Math.max(absmax, LEAST_ABSMAX);
        float inverse = 1f / divisor;
        for (int i = from; i < to; i++) {
            float scaled = full ? values[i] * inverse : values[i] / divisor;
            codes[i] = (byte) codebook.code(Math.clamp(scaled, -1f, 1f));
        }
    }
}
