package io.vectune.quant.gguf;

import io.vectune.quant.lanes.PairedRows;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Codes and group values of the block formats of 4 bits with groups of 32 elements, for [PairedRows].
///
///     Q4_0: w = d (code - 8): factor d, offset -8 d          Q4_1: w = d code + m: factor d, offset m
///     Q4_K: see [BlockQ4K]
///
/// @param type Q4_0, Q4_1 or Q4_K
/// @param segment the blocks of all rows
record NibbleRows(GgufType type, MemorySegment segment) implements PairedRows.Source {
    /// Elements of a block.
    static final int BLOCK = 32;

    static boolean isOf(GgufType type) {
        return type == GgufType.Q4_0 || type == GgufType.Q4_1 || type == GgufType.Q4_K;
    }

    @Override
    public void read(int row, byte[] codes, float[] factor, float[] offset) {
        if (type == GgufType.Q4_K) {
            BlockQ4K.read(segment, row, codes, factor, offset);
            return;
        }
        long block = (long) row * factor.length * type.blockBytes();
        int head = type.blockBytes() - BLOCK / 2;
        for (int group = 0; group < factor.length; group++) {
            float scale = Float.float16ToFloat(segment.get(Tensor.SHORT, block));
            factor[group] = scale;
            offset[group] =
                    type == GgufType.Q4_0 ? -8 * scale : Float.float16ToFloat(segment.get(Tensor.SHORT, block + 2));
            for (int i = 0; i < BLOCK / 2; i++) {
                int pair = segment.get(Tensor.BYTE, block + head + i);
                codes[group * BLOCK + i] = (byte) (pair & 15);
                codes[group * BLOCK + BLOCK / 2 + i] = (byte) (pair >>> 4 & 15);
            }
            block += type.blockBytes();
        }
    }
}
