package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q4_K: 4.5 bits a weight; 8 groups of 32 elements with 6-bit scales and minimums.
///
///     w = (superScale * scale[g]) * code - (superMinimum * minimum[g])      g = element / 32
///
/// Block     256 elements, 144 bytes: superScale f16 | superMinimum f16 | 12 bytes of 6-bit scales and minimums
///           ([SixBitScales]) | 128 bytes: bytes 32 c + j hold group 2 c (low nibble) and 2 c + 1 (high), element j
/// Source    ggml `block_q4_K`
final class BlockQ4K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ4K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 144;
    private static final int SUPER_MINIMUM = 2;
    private static final int SCALES = 4;
    private static final int CODES = 16;

    private BlockQ4K() {
        super(32, true, 8);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        return unsignedByte(segment, block + CODES + 32L * (i / 64) + i % 32) >>> (4 * (i / 32 & 1)) & 15;
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        return half(segment, block) * SixBitScales.scale(segment, block + SCALES, group);
    }

    @Override
    float minimum(MemorySegment segment, long block, int group) {
        return -(half(segment, block + SUPER_MINIMUM) * SixBitScales.minimum(segment, block + SCALES, group));
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int to = tileOffset + block * ELEMENTS;
            float superScale = half(segment, at);
            float superMinimum = half(segment, at + SUPER_MINIMUM);
            long scales = SixBitScales.scales(segment, at + SCALES);
            long minimums = SixBitScales.minimums(segment, at + SCALES);
            for (int group = 0; group < 8; group += 2) {
                FloatVector lowScale = SixBitScales.scale(scales, group, superScale);
                FloatVector lowMinimum = SixBitScales.negativeMinimum(minimums, group, superMinimum);
                FloatVector highScale = SixBitScales.scale(scales, group + 1, superScale);
                FloatVector highMinimum = SixBitScales.negativeMinimum(minimums, group + 1, superMinimum);
                for (int j = 0; j < 32; j += COUNT) {
                    IntVector pair = Lanes.unsignedBytes(segment, at + CODES + 16L * group + j);
                    Lanes.toFloat(pair.and(15)).fma(lowScale, lowMinimum).intoArray(tile, to + group * 32 + j);
                    Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4))
                            .fma(highScale, highMinimum)
                            .intoArray(tile, to + group * 32 + 32 + j);
                }
            }
        }
    }

    @Override
    void multiply(
            MemorySegment segment,
            long offset,
            long rowBytes,
            int rows,
            int blocks,
            float[] x,
            int xOffset,
            MemorySegment y,
            long yOffset) {
        for (int row = 0; row < rows; row++) {
            y.set(Tensor.FLOAT, yOffset + 4L * row, dot(segment, offset + row * rowBytes, blocks, x, xOffset));
        }
    }

    private static float dot(MemorySegment segment, long offset, int blocks, float[] x, int xOffset) {
        FloatVector first = FloatVector.zero(F32);
        FloatVector second = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int from = xOffset + block * ELEMENTS;
            float superScale = half(segment, at);
            float superMinimum = half(segment, at + SUPER_MINIMUM);
            long scales = SixBitScales.scales(segment, at + SCALES);
            long minimums = SixBitScales.minimums(segment, at + SCALES);
            for (int group = 0; group < 8; group += 2) {
                FloatVector lowScale = SixBitScales.scale(scales, group, superScale);
                FloatVector lowMinimum = SixBitScales.negativeMinimum(minimums, group, superMinimum);
                FloatVector highScale = SixBitScales.scale(scales, group + 1, superScale);
                FloatVector highMinimum = SixBitScales.negativeMinimum(minimums, group + 1, superMinimum);
                for (int j = 0; j < 32; j += COUNT) {
                    IntVector pair = Lanes.unsignedBytes(segment, at + CODES + 16L * group + j);
                    FloatVector low = Lanes.toFloat(pair.and(15)).fma(lowScale, lowMinimum);
                    FloatVector high =
                            Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4)).fma(highScale, highMinimum);
                    first = low.fma(FloatVector.fromArray(F32, x, from + group * 32 + j), first);
                    second = high.fma(FloatVector.fromArray(F32, x, from + group * 32 + 32 + j), second);
                }
            }
        }
        return Lanes.sum(first.add(second));
    }
}
