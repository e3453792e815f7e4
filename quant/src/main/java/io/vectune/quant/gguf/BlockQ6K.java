package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;
import static io.vectune.quant.lanes.Lanes.I32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.function.IntUnaryOperator;
import java.util.stream.IntStream;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q6_K: 6.5625 bits a weight; 16 groups of 16 elements with 8-bit scales.
///
///     w = (superScale * scale[g]) * (code - 32)      g = element / 16
///
/// Block     256 elements, 210 bytes: 128 bytes of low nibbles | 64 bytes of high bit pairs | 16 signed scales |
///           superScale f16. Half h, quarter q, element j < 32 of it (element 128 h + 32 q + j): low nibble in byte
///           64 h + 32 (q & 1) + j, the low half of it for q < 2; high bits in byte 32 h + j, from bit 2 q
/// Source    ggml `block_q6_K`
final class BlockQ6K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ6K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 210;
    private static final int HIGH_BITS = 128;
    private static final int SCALES = 192;
    private static final int SUPER_SCALE = 208;

    /// Lanes for which the words of half a block are one vector.
    private static final int WORDS = 16;

    private static final int CENTER = 32;
    private static final float BIG = 0x1p23f;
    private static final int BIG_BITS = Float.floatToRawIntBits(BIG);
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;

    /// For each half: the words of its high bits, twice; the second time for the quarters 1 and 3, 2 bits up.
    private static final int[] HIGH_LANES = lanes(2 * WORDS, lane -> lane / WORDS * 8 + lane % 8);

    private static final int[] HIGH_SHIFTS = lanes(WORDS, lane -> lane / 8 * 2);

    /// For each half and nibble: the scale of the 16 elements that 4 lanes belong to.
    private static final int[] SCALE_LANES = lanes(4 * WORDS, lane -> lane / 4);

    private BlockQ6K() {}

    @Override
    float value(MemorySegment segment, long block, int i) {
        int half = i / 128;
        int quarter = i % 128 / 32;
        int low = unsignedByte(segment, block + 64L * half + i % 64) >>> (4 * (quarter / 2)) & 15;
        int high = unsignedByte(segment, block + HIGH_BITS + 32L * half + i % 32) >>> (2 * quarter) & 3;
        float scale = half(segment, block + SUPER_SCALE) * segment.get(Tensor.BYTE, block + SCALES + i / 16);
        return scale * ((low | (high << 4)) - 32);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int part = 0; part < 8; part++) {
                decodeQuarter(segment, at, part / 4, part % 4, superScale, tile, tileOffset + block * ELEMENTS);
            }
        }
    }

    private static void decodeQuarter(
            MemorySegment segment, long at, int half, int quarter, float superScale, float[] tile, int tileOffset) {
        long low = at + 64L * half + 32L * (quarter & 1);
        long high = at + HIGH_BITS + 32L * half;
        long scales = at + SCALES + 8L * half + 2L * quarter;
        int to = tileOffset + 128 * half + 32 * quarter;
        for (int j = 0; j < 32; j += COUNT) {
            IntVector nibbles = Lanes.unsignedBytes(segment, low + j).lanewise(VectorOperators.LSHR, quarter / 2 * 4);
            IntVector bits = Lanes.unsignedBytes(segment, high + j).lanewise(VectorOperators.LSHR, 2 * quarter);
            IntVector code = bits.and(3).lanewise(VectorOperators.LSHL, 4).or(nibbles.and(15)).sub(32);
            float scale = superScale * segment.get(Tensor.BYTE, scales + j / 16);
            Lanes.toFloat(code).mul(scale).intoArray(tile, to + j);
        }
    }

    /// With 16 lanes, for [#wordDot]: of each half block and byte k of a word, the low nibbles' 16 columns, then the
    /// high nibbles', divided by the place at which the code is decoded.
    @Override
    void prepare(MemorySegment x, long offset, int columns, float[] prepared, int at) {
        if (COUNT != WORDS) {
            super.prepare(x, offset, columns, prepared, at);
            return;
        }
        int to = at;
        for (int half = 0; half < columns; half += ELEMENTS / 2) {
            for (int part = 0; part < 8; part++) {
                int k = part / 2;
                int nibble = part % 2;
                float step = (k % 2 == 0 ? 1 : 0x1p-8f) * (nibble == 0 ? 1 : 0x1p-4f);
                for (int lane = 0; lane < WORDS; lane++) {
                    prepared[to++] = x.get(Tensor.FLOAT, offset + 4L * (half + 64 * nibble + 4 * lane + k)) * step;
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
            long at = offset + row * rowBytes;
            float sum =
                    COUNT == WORDS
                            ? wordDot(segment, at, 0, blocks, x, xOffset)
                                    + wordDot(segment, at, 1, blocks, x, xOffset + ELEMENTS / 2)
                            : byteDot(segment, at, blocks, x, xOffset);
            y.set(Tensor.FLOAT, yOffset + 4L * row, sum);
        }
    }

    /// One half of each block, by words of four bytes: lane l holds the elements 64 n + 4 l + k of the half, byte k,
    /// nibble n. A code is decoded where it stands, as in [io.vectune.quant.lanes.ByteRows].
    private static float wordDot(MemorySegment segment, long offset, int half, int blocks, float[] x, int xOffset) {
        IntVector highLanes = IntVector.fromArray(I32, HIGH_LANES, WORDS * half);
        IntVector highShifts = IntVector.fromArray(I32, HIGH_SHIFTS, 0);
        IntVector lowScales = IntVector.fromArray(I32, SCALE_LANES, WORDS * 2 * half);
        IntVector highScales = IntVector.fromArray(I32, SCALE_LANES, WORDS * (2 * half + 1));
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int from = xOffset + block * ELEMENTS;
            IntVector words = IntVector.fromMemorySegment(I32, segment, at + 64L * half, LITTLE);
            IntVector bits =
                    highLanes
                            .selectFrom(IntVector.fromMemorySegment(I32, segment, at + HIGH_BITS, LITTLE))
                            .lanewise(VectorOperators.LSHR, highShifts);
            IntVector high = bits.lanewise(VectorOperators.LSHL, 4);
            FloatVector low0 = words.and(0xF).or(high.and(0x30)).or(BIG_BITS).reinterpretAsFloats();
            FloatVector low1 = words.and(0xF00).or(high.and(0x3000)).or(BIG_BITS).reinterpretAsFloats();
            FloatVector high0 = words.and(0xF0).or(high.and(0x300)).or(BIG_BITS).reinterpretAsFloats();
            FloatVector high1 = words.and(0xF000).or(high.and(0x30000)).or(BIG_BITS).reinterpretAsFloats();
            FloatVector low = low0.sub(BIG + CENTER).mul(FloatVector.fromArray(F32, x, from));
            FloatVector top = high0.sub(BIG + (CENTER << 4)).mul(FloatVector.fromArray(F32, x, from + 16));
            low = low1.sub(BIG + (CENTER << 8)).fma(FloatVector.fromArray(F32, x, from + 32), low);
            top = high1.sub(BIG + (CENTER << 12)).fma(FloatVector.fromArray(F32, x, from + 48), top);
            words = words.lanewise(VectorOperators.LSHR, 16);
            high = bits.lanewise(VectorOperators.LSHR, 12);
            low0 = words.and(0xF).or(high.and(0x30)).or(BIG_BITS).reinterpretAsFloats();
            low1 = words.and(0xF00).or(high.and(0x3000)).or(BIG_BITS).reinterpretAsFloats();
            high0 = words.and(0xF0).or(high.and(0x300)).or(BIG_BITS).reinterpretAsFloats();
            high1 = words.and(0xF000).or(high.and(0x30000)).or(BIG_BITS).reinterpretAsFloats();
            low = low0.sub(BIG + CENTER).fma(FloatVector.fromArray(F32, x, from + 64), low);
            top = high0.sub(BIG + (CENTER << 4)).fma(FloatVector.fromArray(F32, x, from + 80), top);
            low = low1.sub(BIG + (CENTER << 8)).fma(FloatVector.fromArray(F32, x, from + 96), low);
            top = high1.sub(BIG + (CENTER << 12)).fma(FloatVector.fromArray(F32, x, from + 112), top);
            float superScale = Float.float16ToFloat(segment.get(Tensor.SHORT, at + SUPER_SCALE));
            IntVector scales =
                    ((FloatVector)
                                    ByteVector.fromMemorySegment(ByteVector.SPECIES_128, segment, at + SCALES, LITTLE)
                                            .convertShape(VectorOperators.B2F, F32, 0))
                            .mul(superScale)
                            .reinterpretAsInts();
            sum0 = low.fma(lowScales.selectFrom(scales).reinterpretAsFloats(), sum0);
            sum1 = top.fma(highScales.selectFrom(scales).reinterpretAsFloats(), sum1);
        }
        return Lanes.sum(sum0.add(sum1));
    }

    private static float byteDot(MemorySegment segment, long offset, int blocks, float[] x, int xOffset) {
        FloatVector sum = FloatVector.zero(F32);
        for (int part = 0; part < 8 * blocks; part++) {
            int half = part / 4 % 2;
            int quarter = part % 4;
            long at = offset + (long) (part / 8) * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            long low = at + 64L * half + 32L * (quarter & 1);
            long high = at + HIGH_BITS + 32L * half;
            long scales = at + SCALES + 8L * half + 2L * quarter;
            for (int j = 0; j < 32; j += COUNT) {
                IntVector nibbles =
                        Lanes.unsignedBytes(segment, low + j).lanewise(VectorOperators.LSHR, quarter / 2 * 4);
                IntVector bits = Lanes.unsignedBytes(segment, high + j).lanewise(VectorOperators.LSHR, 2 * quarter);
                IntVector code = bits.and(3).lanewise(VectorOperators.LSHL, 4).or(nibbles.and(15)).sub(32);
                float scale = superScale * segment.get(Tensor.BYTE, scales + j / 16);
                sum = Lanes.toFloat(code).mul(scale).fma(FloatVector.fromArray(F32, x, xOffset + 32 * part + j), sum);
            }
        }
        return Lanes.sum(sum);
    }

    private static int[] lanes(int count, IntUnaryOperator value) {
        return IntStream.range(0, count).map(value).toArray();
    }
}
