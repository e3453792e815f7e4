package io.vectune.models.bench;

import io.vectune.quant.gguf.GgufType;
import java.util.List;

/// The f16 factors of a GGUF block: random bits there would be infinities.
///
/// @param offsets their bytes in a block
/// @param value with which weights of random codes are of size one
record BlockFactors(List<Integer> offsets, float value) {
    /// @throws IllegalArgumentException for types that are no blocks, or that this library does not decode
    static BlockFactors of(GgufType type) {
        return switch (type) {
            case Q4_0, Q5_0, Q8_0 -> new BlockFactors(List.of(0), 0x1p-4f);
            case Q4_1, Q5_1 -> new BlockFactors(List.of(0, 2), 0x1p-4f);
            // 4-bit scales and 2-bit codes: 15 * 3 / 32 = 1.4
            case Q2_K -> new BlockFactors(List.of(80, 82), 0x1p-5f);
            // scales to 32, codes to 4: 32 * 4 / 128 = 1
            case Q3_K -> new BlockFactors(List.of(108), 0x1p-7f);
            // 6-bit scales, codes of 4 and 5 bits: 63 * 15 / 2048 = 0.5, 63 * 31 / 2048 = 1
            case Q4_K, Q5_K -> new BlockFactors(List.of(0, 2), 0x1p-11f);
            // 8-bit scales, codes to 32: 128 * 32 / 2048 = 2
            case Q6_K -> new BlockFactors(List.of(208), 0x1p-11f);
            default -> throw new IllegalArgumentException("type: expected a block type that is decoded, found " + type);
        };
    }
}
