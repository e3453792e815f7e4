package io.vectune.quant.gguf;

import io.vectune.quant.lanes.RowSource;
import java.lang.foreign.MemorySegment;

/// Codes and group values of rows of blocks, for the layouts of the fused products.
///
/// @param type of the blocks
/// @param format of that type
/// @param segment the blocks of all rows
record BlockRows(GgufType type, GgufBlockFormat format, MemorySegment segment) implements RowSource {
    @Override
    public void read(int row, byte[] codes, float[] factor, float[] offset) {
        int elements = type.blockElements();
        int groups = elements / format.groupElements();
        long block = (long) row * (codes.length / elements) * type.blockBytes();
        for (int column = 0; column < codes.length; column += elements) {
            for (int i = 0; i < elements; i++) {
                codes[column + i] = (byte) format.code(segment, block, i);
            }
            int first = column / format.groupElements();
            for (int group = 0; group < groups; group++) {
                float scale = format.scale(segment, block, group);
                factor[first + group] = scale;
                offset[first + group] =
                        format.hasMinimums() ? format.minimum(segment, block, group) : -format.center() * scale;
            }
            block += type.blockBytes();
        }
    }
}
