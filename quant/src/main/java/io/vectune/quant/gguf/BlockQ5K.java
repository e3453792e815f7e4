package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q5_K: 5.5 bits a weight; as Q4_K with a fifth bit of each code.
///
///     w = (superScale * scale[g]) * code - (superMinimum * minimum[g])      g = element / 32
///
/// Block     256 elements, 176 bytes: superScale f16 | superMinimum f16 | 12 bytes of 6-bit scales and minimums
///           ([SixBitScales]) | 32 bytes: bit g of byte j is the fifth bit of group g, element j | 128 bytes: bytes
///           32 c + j hold group 2 c (low nibble) and 2 c + 1 (high), element j
/// Source    ggml `block_q5_K`
final class BlockQ5K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ5K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 176;
    private static final int SUPER_MINIMUM = 2;
    private static final int SCALES = 4;
    private static final int HIGH_BITS = 16;
    private static final int CODES = 48;

    private BlockQ5K() {
        super(32, true, 16);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        int high = unsignedByte(segment, block + HIGH_BITS + i % 32) >>> (i / 32) & 1;
        int low = unsignedByte(segment, block + CODES + 32L * (i / 64) + i % 32) >>> (4 * (i / 32 & 1)) & 15;
        return low | (high << 4);
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
                    IntVector fifth =
                            Lanes.unsignedBytes(segment, at + HIGH_BITS + j).lanewise(VectorOperators.LSHR, group);
                    IntVector low = pair.and(15).or(fifth.lanewise(VectorOperators.LSHL, 4).and(16));
                    IntVector high =
                            pair.lanewise(VectorOperators.LSHR, 4).or(fifth.lanewise(VectorOperators.LSHL, 3).and(16));
                    Lanes.toFloat(low).fma(lowScale, lowMinimum).intoArray(tile, to + group * 32 + j);
                    Lanes.toFloat(high).fma(highScale, highMinimum).intoArray(tile, to + group * 32 + 32 + j);
                }
            }
        }
    }

    private static FloatVector codes(MemorySegment segment, long at, int group, int j) {
        IntVector low =
                Lanes.unsignedBytes(segment, at + CODES + 32L * (group / 2) + j)
                        .lanewise(VectorOperators.LSHR, 4 * (group & 1))
                        .and(15);
        IntVector high = Lanes.unsignedBytes(segment, at + HIGH_BITS + j).lanewise(VectorOperators.LSHR, group).and(1);
        return Lanes.toFloat(low.or(high.lanewise(VectorOperators.LSHL, 4)));
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
        FloatVector sum = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at);
            float superMinimum = half(segment, at + SUPER_MINIMUM);
            long scales = SixBitScales.scales(segment, at + SCALES);
            long minimums = SixBitScales.minimums(segment, at + SCALES);
            for (int group = 0; group < 8; group++) {
                FloatVector scale = SixBitScales.scale(scales, group, superScale);
                FloatVector minimum = SixBitScales.negativeMinimum(minimums, group, superMinimum);
                FloatVector part = FloatVector.zero(F32);
                for (int j = 0; j < 32; j += COUNT) {
                    FloatVector values = FloatVector.fromArray(F32, x, xOffset + block * ELEMENTS + group * 32 + j);
                    part = codes(segment, at, group, j).fma(scale, minimum).fma(values, part);
                }
                sum = sum.add(part);
            }
        }
        return Lanes.sum(sum);
    }
}
