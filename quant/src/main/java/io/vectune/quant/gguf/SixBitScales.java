package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// The 8 scales and 8 minimums of 6 bits in the 12 bytes that Q4_K and Q5_K share.
///
///     byte 0..3    scale 0..3 in the low 6 bits, bits 4..5 of scale 4..7 above
///     byte 4..7    minimum 0..3 in the low 6 bits, bits 4..5 of minimum 4..7 above
///     byte 8..11   bits 0..3 of scale 4..7 (low nibble) and of minimum 4..7 (high nibble)
final class SixBitScales {
    // of four bytes at once
    private static final int SIX_BITS = 0x3F3F3F3F;
    private static final int NIBBLES = 0x0F0F0F0F;
    private static final int PAIRS = 0x03030303;

    private SixBitScales() {}

    static int scale(MemorySegment segment, long at, int group) {
        return group < 4
                ? GgufBlockFormat.unsignedByte(segment, at + group) & 63
                : (GgufBlockFormat.unsignedByte(segment, at + group + 4) & 15)
                        | (GgufBlockFormat.unsignedByte(segment, at + group - 4) >>> 6 << 4);
    }

    static int minimum(MemorySegment segment, long at, int group) {
        return group < 4
                ? GgufBlockFormat.unsignedByte(segment, at + group + 4) & 63
                : (GgufBlockFormat.unsignedByte(segment, at + group + 4) >>> 4)
                        | (GgufBlockFormat.unsignedByte(segment, at + group) >>> 6 << 4);
    }

    /// All scales, that of group g in byte g.
    static long scales(MemorySegment segment, long at) {
        int first = segment.get(Tensor.INT, at);
        int last = segment.get(Tensor.INT, at + 8);
        return packed(first, last & NIBBLES);
    }

    /// All minimums, that of group g in byte g.
    static long minimums(MemorySegment segment, long at) {
        int first = segment.get(Tensor.INT, at + 4);
        int last = segment.get(Tensor.INT, at + 8);
        return packed(first, (last >>> 4) & NIBBLES);
    }

    private static long packed(int first, int nibbles) {
        int last = nibbles | (((first >>> 6) & PAIRS) << 4);
        return (first & SIX_BITS) | ((long) last << 32);
    }

    /// superScale * scale of a group.
    static FloatVector scale(long scales, int group, float superScale) {
        return FloatVector.broadcast(F32, superScale * GgufBlockFormat.byteOf(scales, group));
    }

    /// -(superMinimum * minimum of a group).
    static FloatVector negativeMinimum(long minimums, int group, float superMinimum) {
        return FloatVector.broadcast(F32, -(superMinimum * GgufBlockFormat.byteOf(minimums, group)));
    }
}
