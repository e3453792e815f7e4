package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.F32;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// The 8 scales and 8 minimums of 6 bits in the 12 bytes that Q4_K and Q5_K share.
///
///     byte 0..3    scale 0..3 in the low 6 bits, bits 4..5 of scale 4..7 above
///     byte 4..7    minimum 0..3 in the low 6 bits, bits 4..5 of minimum 4..7 above
///     byte 8..11   bits 0..3 of scale 4..7 (low nibble) and of minimum 4..7 (high nibble)
final class SixBitScales {
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

    static FloatVector scales(MemorySegment segment, long at, int group, float superScale) {
        return FloatVector.broadcast(F32, superScale * scale(segment, at, group));
    }

    static FloatVector negativeMinimums(MemorySegment segment, long at, int group, float superMinimum) {
        return FloatVector.broadcast(F32, -(superMinimum * minimum(segment, at, group)));
    }
}
