package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorShuffle;

/// [RotaryPairs] in vectors: the same bits as [RotaryPairsScalar].
final class RotaryPairsVector implements RotaryPairsKernel {
    private static final VectorShuffle<Float> SWAP = VectorShuffle.fromOp(SPECIES, lane -> lane ^ 1);

    @Override
    public void rotate(Matrix x, int headDim, float[] cosines, float[] sines, boolean inverse, int rowFrom, int rowTo) {
        float sign = inverse ? -1 : 1;
        for (int row = rowFrom; row < rowTo; row++) {
            for (int head = 0; head < x.columns(); head += headDim) {
                long at = x.rowOffset(row) + 4L * head;
                int table = row * headDim;
                int done = rotateVectors(x.segment(), at, headDim, cosines, sines, table, sign);
                RotaryPairsScalar.rotateHead(x.segment(), at, headDim, cosines, sines, table, sign, done);
            }
        }
    }

    private static int rotateVectors(
            MemorySegment xs, long at, int headDim, float[] cosines, float[] sines, int table, float sign) {
        int i = 0;
        for (; i <= headDim - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector value = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            FloatVector cos = FloatVector.fromArray(SPECIES, cosines, table + i);
            FloatVector sin = FloatVector.fromArray(SPECIES, sines, table + i).mul(sign);
            value.fma(cos, value.rearrange(SWAP).mul(sin)).intoMemorySegment(xs, at + 4L * i, ORDER);
        }
        return i;
    }
}
