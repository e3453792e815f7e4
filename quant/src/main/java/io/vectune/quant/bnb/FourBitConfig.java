package io.vectune.quant.bnb;

import io.vectune.runtime.tensor.DType;
import java.util.Set;

/// How to quantize to 4 bits.
///
/// @param type NF4 or FP4
/// @param blockSize weights that share an absmax: 32, 64, 128, 256, 512, 1024, 2048 or 4096
/// @param doubleQuant whether the absmax values are quantized to 8 bits themselves
/// @param storageDtype element type that files give the packed bytes: U8, or F32, F16, BF16 for frameworks that shard
///   only float tensors; the bytes are the same
public record FourBitConfig(FourBitType type, int blockSize, boolean doubleQuant, DType storageDtype) {
    private static final Set<Integer> BLOCK_SIZES = Set.of(32, 64, 128, 256, 512, 1024, 2048, 4096);

    public FourBitConfig {
        checkBlockSize(blockSize);
        if (storageDtype != DType.U8 && !storageDtype.isFloat()) {
            throw new IllegalArgumentException("storageDtype: expected U8, F32, F16 or BF16, found " + storageDtype);
        }
    }

    /// NF4 with the library's block size of 64, stored as U8.
    public static FourBitConfig nf4(boolean doubleQuant) {
        return new FourBitConfig(FourBitType.NF4, 64, doubleQuant, DType.U8);
    }

    /// FP4 with the library's block size of 64, stored as U8.
    public static FourBitConfig fp4(boolean doubleQuant) {
        return new FourBitConfig(FourBitType.FP4, 64, doubleQuant, DType.U8);
    }

    /// This configuration with another block size.
    public FourBitConfig withBlockSize(int newBlockSize) {
        return new FourBitConfig(type, newBlockSize, doubleQuant, storageDtype);
    }

    static void checkBlockSize(int blockSize) {
        if (!BLOCK_SIZES.contains(blockSize)) {
            throw new IllegalArgumentException(
                    "blockSize: expected a power of two from 32 to 4096, found " + blockSize);
        }
    }
}
