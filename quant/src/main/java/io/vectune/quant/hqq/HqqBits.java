package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;
import java.util.Arrays;
import java.util.stream.Collectors;

/// The code widths of HQQ. 6 and 5 bits take a byte a code, 1.58 bits (three levels) two bits a code, as hqq packs
/// them.
public enum HqqBits {
    EIGHT("8", 255, HqqPacking.U8_8),
    SIX("6", 63, HqqPacking.U8_8),
    FIVE("5", 31, HqqPacking.U8_8),
    FOUR("4", 15, HqqPacking.U8_4),
    THREE("3", 7, HqqPacking.I32_3),
    TWO("2", 3, HqqPacking.U8_2),
    TERNARY("1.58", 2, HqqPacking.U8_2),
    ONE("1", 1, HqqPacking.U8_1);

    private final String text;
    private final int maxCode;
    private final HqqPacking packing;

    HqqBits(String text, int maxCode, HqqPacking packing) {
        this.text = text;
        this.maxCode = maxCode;
        this.packing = packing;
    }

    /// The width as people and files write it: `4`, `1.58`, ...
    public String text() {
        return text;
    }

    /// The largest code, round(2^nbits - 1).
    public int maxCode() {
        return maxCode;
    }

    public HqqPacking packing() {
        return packing;
    }

    /// The width written as `text`.
    ///
    /// @throws VectuneException if HQQ has no such width
    public static HqqBits of(String text) {
        for (HqqBits bits : values()) {
            if (bits.text.equals(text)) {
                return bits;
            }
        }
        throw new VectuneException(
                "bits: expected one of "
                        + Arrays.stream(values()).map(HqqBits::text).collect(Collectors.joining(", "))
                        + " for HQQ, found "
                        + text);
    }
}
