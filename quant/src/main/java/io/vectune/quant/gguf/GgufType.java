package io.vectune.quant.gguf;

import java.util.Optional;

/// Storage types of GGUF tensors: blocks of elements that share scales, `blockBytes` for `blockElements` each.
///
/// The elements of a row are cut into blocks; a block never straddles rows. Types that this library knows only by name
/// and size have [#isReadable] false: a file may hold them, a weight cannot be made of them.
public enum GgufType {
    F32(0, 1, 4, true),
    F16(1, 1, 2, true),
    Q4_0(2, 32, 18, true),
    Q4_1(3, 32, 20, true),
    Q5_0(6, 32, 22, true),
    Q5_1(7, 32, 24, true),
    Q8_0(8, 32, 34, true),
    Q8_1(9, 32, 36, false),
    Q2_K(10, 256, 84, true),
    Q3_K(11, 256, 110, true),
    Q4_K(12, 256, 144, true),
    Q5_K(13, 256, 176, true),
    Q6_K(14, 256, 210, true),
    Q8_K(15, 256, 292, false),
    IQ2_XXS(16, 256, 66, false),
    IQ2_XS(17, 256, 74, false),
    IQ3_XXS(18, 256, 98, false),
    IQ1_S(19, 256, 50, false),
    IQ4_NL(20, 32, 18, false),
    IQ3_S(21, 256, 110, false),
    IQ2_S(22, 256, 82, false),
    IQ4_XS(23, 256, 136, false),
    I8(24, 1, 1, true),
    I16(25, 1, 2, true),
    I32(26, 1, 4, true),
    I64(27, 1, 8, true),
    F64(28, 1, 8, true),
    IQ1_M(29, 256, 56, false),
    BF16(30, 1, 2, true),
    TQ1_0(34, 256, 54, false),
    TQ2_0(35, 256, 66, false),
    MXFP4(39, 32, 17, false);

    private final int id;
    private final int blockElements;
    private final int blockBytes;
    private final boolean readable;

    GgufType(int id, int blockElements, int blockBytes, boolean readable) {
        this.id = id;
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
        this.readable = readable;
    }

    /// The number that files hold.
    public int id() {
        return id;
    }

    /// Elements of one block.
    public int blockElements() {
        return blockElements;
    }

    /// Bytes of one block.
    public int blockBytes() {
        return blockBytes;
    }

    /// Whether this library can decode it.
    public boolean isReadable() {
        return readable;
    }

    /// Whether it is a plain array of numbers and no block format.
    public boolean isPlain() {
        return blockElements == 1;
    }

    /// Effective size of a weight, scales included.
    public double bitsPerWeight() {
        return 8.0 * blockBytes / blockElements;
    }

    /// The type of that number, if it is known.
    public static Optional<GgufType> ofId(int id) {
        for (GgufType type : values()) {
            if (type.id == id) {
                return Optional.of(type);
            }
        }
        return Optional.empty();
    }
}
