package io.vectune.quant.gguf;

import io.vectune.quant.lanes.TableRows;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Codes and group values of the block formats of 4 bits with 32 elements, for [TableRows].
///
///     Q4_0: w = d (code - 8): factor d, offset -8 d          Q4_1: w = d code + m: factor d, offset m
///
/// @param type Q4_0 or Q4_1
/// @param segment the blocks of all rows
record NibbleRows(GgufType type, MemorySegment segment) implements TableRows.Source {
    /// Elements of a block.
    static final int BLOCK = 32;

    static boolean isOf(GgufType type) {
        return type == GgufType.Q4_0 || type == GgufType.Q4_1;
    }

    @Override
    public void read(int row, byte[] codes, float[] factor, float[] offset) {
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
