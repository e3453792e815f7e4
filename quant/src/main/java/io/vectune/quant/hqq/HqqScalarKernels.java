package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;

/// The scalar tier of [HqqKernels]: formula order, one element after the other.
final class HqqScalarKernels implements HqqKernels {
    @Override
    public void decode(HqqCodes codes, long flat, int count, float[] to, int at) {
        for (int i = 0; i < count; i++) {
            to[at + i] = weight(codes, flat + i);
        }
    }

    /// One weight.
    static float weight(HqqCodes codes, long flat) {
        int group = codes.geometry().groupOf(flat);
        DType type = codes.computeDtype();
        float shifted = FloatCast.round(codes.code(flat) - codes.zeroPoint(group), type);
        return FloatCast.round(shifted * codes.scale(group), type);
    }
}
