package io.vectune.quant.gguf;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// How the blocks of one GGUF type hold their elements. Stateless; one object a type.
///
/// [#value] is the definition of the format and the scalar tier; the two kernels are the vector tier. Decoding is
/// exact: a scale has at most 11 + 8 significant bits and a code at most 6, so that scale * code has no rounding in
/// f32, and a fused multiply-add rounds once where the definition does.
abstract class GgufBlockFormat {
    private final int groupElements;
    private final boolean hasMinimums;
    private final int center;

    /// @param groupElements elements that share a scale
    /// @param hasMinimums whether weights have a minimum beside the scale
    /// @param center the code of a weight 0 where there are no minimums, else the middle of the codes
    GgufBlockFormat(int groupElements, boolean hasMinimums, int center) {
        this.groupElements = groupElements;
        this.hasMinimums = hasMinimums;
        this.center = center;
    }

    /// Elements that share a scale.
    final int groupElements() {
        return groupElements;
    }

    /// Whether a group has a minimum beside its scale.
    final boolean hasMinimums() {
        return hasMinimums;
    }

    /// The code of a weight 0 in formats without minimums, else the middle of the codes.
    final int center() {
        return center;
    }

    /// Element `i` of the block at byte `block`: scale * code + minimum, or scale * (code - center).
    final float value(MemorySegment segment, long block, int i) {
        int code = code(segment, block, i);
        int group = i / groupElements;
        return hasMinimums
                ? scale(segment, block, group) * code + minimum(segment, block, group)
                : scale(segment, block, group) * (code - center);
    }

    /// The code of element `i`, 0 to 255.
    abstract int code(MemorySegment segment, long block, int i);

    /// The scale of a group.
    abstract float scale(MemorySegment segment, long block, int group);

    /// The minimum of a group, for formats that have one.
    float minimum(MemorySegment segment, long block, int group) {
        return 0;
    }

    /// Decodes `blocks` blocks that follow each other from byte `offset` to `tile`.
    abstract void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset);

    /// y[row] = sum of the row's elements times x, for `rows` rows of `blocks` blocks each.
    ///
    /// @param offset byte of the first row
    /// @param rowBytes from one row to the next
    /// @param x the input from `xOffset`, in the order of the columns
    /// @param y f32, from byte `yOffset`
    abstract void multiply(
            MemorySegment segment,
            long offset,
            long rowBytes,
            int rows,
            int blocks,
            float[] x,
            int xOffset,
            MemorySegment y,
            long yOffset);

    /// The format of a type.
    ///
    /// @throws IllegalArgumentException for types that are not block formats of this library
    /// @throws VectuneException in a JVM without the module that the blocks are decoded with
    static GgufBlockFormat of(GgufType type) {
        if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty()) {
            throw new VectuneException(
                    "GGUF type "
                            + type
                            + ": its blocks need the module jdk.incubator.vector, this JVM was started without it; add"
                            + " --add-modules jdk.incubator.vector");
        }
        return switch (type) {
            case Q4_0 -> BlockQ40.FORMAT;
            case Q4_1 -> BlockQ41.FORMAT;
            case Q5_0 -> BlockQ50.FORMAT;
            case Q5_1 -> BlockQ51.FORMAT;
            case Q8_0 -> BlockQ80.FORMAT;
            case Q2_K -> BlockQ2K.FORMAT;
            case Q3_K -> BlockQ3K.FORMAT;
            case Q4_K -> BlockQ4K.FORMAT;
            case Q5_K -> BlockQ5K.FORMAT;
            case Q6_K -> BlockQ6K.FORMAT;
            default ->
                    throw new IllegalArgumentException(
                            "GGUF type "
                                    + type
                                    + " cannot be decoded: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K,"
                                    + " Q3_K, Q4_K, Q5_K or Q6_K; convert the file to one of these");
        };
    }

    /// An f16 of the file, widened.
    static float half(MemorySegment segment, long offset) {
        return Float.float16ToFloat(segment.get(Tensor.SHORT, offset));
    }

    /// A byte of the file, 0 to 255.
    static int unsignedByte(MemorySegment segment, long offset) {
        return segment.get(Tensor.BYTE, offset) & 0xFF;
    }

    /// Byte `i` of eight, 0 to 255: small numbers of groups are loaded and unpacked together, and taken out one by one.
    static int byteOf(long bytes, int i) {
        return (int) (bytes >>> (8 * i)) & 0xFF;
    }
}
