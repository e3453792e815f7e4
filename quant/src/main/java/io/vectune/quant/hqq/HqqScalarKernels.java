package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The scalar tier of [HqqKernels]: formula order, one element after the other.
final class HqqScalarKernels implements HqqKernels {
    @Override
    public void decode(HqqCodes codes, long flat, int count, float[] to, int at) {
        for (int i = 0; i < count; i++) {
            to[at + i] = weight(codes, flat + i);
        }
    }

    @Override
    public void multiplyRow(
            HqqCodes codes,
            long flat,
            int count,
            float[] x,
            int tokens,
            MemorySegment y,
            long yOffset,
            long yTokenBytes) {
        for (int token = 0; token < tokens; token++) {
            float sum = 0;
            for (int i = 0; i < count; i++) {
                sum = Math.fma(weight(codes, flat + i), x[token * count + i], sum);
            }
            y.set(Tensor.FLOAT, yOffset + token * yTokenBytes, sum);
        }
    }

    /// One weight.
    static float weight(HqqCodes codes, long flat) {
        int group = codes.geometry().groupOf(flat);
        DType type = codes.computeDtype();
        float shifted = HalfRounding.round(codes.code(flat) - codes.zeroPoint(group), type);
        return HalfRounding.round(shifted * codes.scale(group), type);
    }
}
