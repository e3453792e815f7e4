package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import java.util.Optional;

/// How hqq packs codes into words: the rows of the matrix are split into as many equal blocks as a word has slots, and
/// block k goes to slot k, counted from the most significant bits.
///
/// In row-major order, with P words in all, the element of flat index f lies in word `f % P`, slot `f / P`, so that
/// every slot holds one contiguous run of elements. `3bit_32` appends zero rows until the rows divide by 10. Source:
/// hqq/core/bitpack.py, 0.2.8.post1.
public enum HqqPacking {
    U8_8("8bit_u8", 1, 8),
    U8_4("4bit_u8", 2, 4),
    I32_3("3bit_32", 10, 3),
    U8_2("2bit_u8", 4, 2),
    U8_1("1bit_u8", 8, 1);

    private final String key;
    private final int slots;
    private final int slotBits;

    HqqPacking(String key, int slots, int slotBits) {
        this.key = key;
        this.slots = slots;
        this.slotBits = slotBits;
    }

    /// The name in files: `4bit_u8`, ...
    public String key() {
        return key;
    }

    /// Codes in a word.
    public int slots() {
        return slots;
    }

    /// Bits of one code in a word.
    public int slotBits() {
        return slotBits;
    }

    /// The mask of one code.
    public int mask() {
        return (1 << slotBits) - 1;
    }

    /// How far the code of a slot lies from the least significant bit of its word.
    public int shift(int slot) {
        return slotBits * (slots - 1 - slot);
    }

    /// The type of a word: I32 for `3bit_32`, else U8.
    public DType wordType() {
        return this == I32_3 ? DType.I32 : DType.U8;
    }

    /// Bytes of a word.
    public int wordBytes() {
        return wordType().bytes();
    }

    /// Whether missing rows are appended rather than refused.
    public boolean padsRows() {
        return this == I32_3;
    }

    /// The packing of that name, if there is one.
    public static Optional<HqqPacking> ofKey(String key) {
        for (HqqPacking packing : values()) {
            if (packing.key.equals(key)) {
                return Optional.of(packing);
            }
        }
        return Optional.empty();
    }
}
