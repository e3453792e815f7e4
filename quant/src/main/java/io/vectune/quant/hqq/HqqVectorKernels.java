package io.vectune.quant.hqq;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [HqqKernels].
///
/// A range is cut into runs in which the slot does not change: L words are loaded at once, shifted and masked to L
/// codes, and converted to f32. A second loop makes weights of them in place ([HqqVectorLevels]), while they are in the
/// nearest cache. So there is one loop a way of storing codes, and one a way that groups lie and round, instead of one
/// a combination. What is most frequent, bytes in groups of whole vectors along the rows and the compute type F32, has
/// one loop for both.
final class HqqVectorKernels implements HqqKernels {
    private static final VectorSpecies<Float> F32 = Lanes.F32;
    private static final VectorSpecies<Integer> I32 = Lanes.I32;
    private static final int LANES = Lanes.COUNT;

    @Override
    public void decode(HqqCodes codes, long flat, int count, float[] to, int at) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        boolean wide = packing == HqqPacking.I32_3;
        boolean plain = !wide && codes.computeDtype() == DType.F32 && geometry.axis() == 1;
        int groupSize = geometry.groupSize();
        int mask = packing.mask();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(count - done, words - word);
            int shift = packing.shift(slot);
            int start = at + done;
            long first = flat + done;
            if (wide) {
                wordCodes(codes.packed(), word, shift, mask, to, start, run);
                HqqVectorLevels.apply(codes, first, to, start, run);
            } else if (plain && groupSize % LANES == 0 && first % LANES == 0) {
                int whole = run / LANES * LANES;
                groups(codes, word, shift, mask, first, to, start, whole);
                byteCodes(codes.packed(), word + whole, shift, mask, to, start + whole, run - whole);
                HqqVectorLevels.apply(codes, first + whole, to, start + whole, run - whole);
            } else {
                byteCodes(codes.packed(), word, shift, mask, to, start, run);
                HqqVectorLevels.apply(codes, first, to, start, run);
            }
            done += run;
            word += run;
            if (word == words) {
                word = 0;
                slot++;
            }
        }
    }

    /// Weights of whole vectors: bytes, groups of whole vectors, compute type F32.
    private static void groups(
            HqqCodes codes, long word, int shift, int mask, long flat, float[] to, int at, int count) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        int group = (int) (flat / groupSize);
        int left = groupSize - (int) (flat - (long) group * groupSize);
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            FloatVector code = codes(Lanes.unsignedBytes(packed, word + i), shift, mask);
            code.sub(zeros).mul(scales).intoArray(to, at + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                group++;
            }
        }
    }

    private static void byteCodes(MemorySegment packed, long word, int shift, int mask, float[] to, int at, int count) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            codes(Lanes.unsignedBytes(packed, word + i), shift, mask).intoArray(to, at + i);
        }
        for (; i < count; i++) {
            to[at + i] = ((packed.get(Tensor.BYTE, word + i) & 0xFF) >>> shift) & mask;
        }
    }

    private static void wordCodes(MemorySegment packed, long word, int shift, int mask, float[] to, int at, int count) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            codes(wideWords(packed, word + i), shift, mask).intoArray(to, at + i);
        }
        for (; i < count; i++) {
            to[at + i] = (packed.get(Tensor.INT, 4 * (word + i)) >>> shift) & mask;
        }
    }

    static IntVector wideWords(MemorySegment packed, long word) {
        return IntVector.fromMemorySegment(I32, packed, 4 * word, ByteOrder.LITTLE_ENDIAN);
    }

    static int word(MemorySegment packed, boolean wide, long word) {
        return wide ? packed.get(Tensor.INT, 4 * word) : packed.get(Tensor.BYTE, word) & 0xFF;
    }

    private static FloatVector codes(IntVector words, int shift, int mask) {
        return Lanes.toFloat(words.lanewise(VectorOperators.LSHR, shift).and(mask));
    }

    static FloatVector floats(MemorySegment values, long index) {
        return FloatVector.fromMemorySegment(F32, values, 4 * index, ByteOrder.LITTLE_ENDIAN);
    }
}
