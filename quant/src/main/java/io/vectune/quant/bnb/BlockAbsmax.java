package io.vectune.quant.bnb;

import io.vectune.quant.hqq.CascadeSum;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The absmax of each block of a 4-bit weight: plain f32 values, or codes of 8 bits ("double quantization").
///
///     absmax[b] = nestedMap[codes[b]] * nestedAbsmax[b / nestedBlockSize] + nestedOffset      two roundings
///
/// Files bring their own map, whose last bits differ between builds of torch.
public final class BlockAbsmax {
    private final boolean nested;
    private final MemorySegment segment;
    private final long count;
    private final float[] nestedMap;
    private final float[] nestedAbsmax;
    private final int nestedBlockSize;
    private final float nestedOffset;

    private BlockAbsmax(
            boolean nested,
            MemorySegment segment,
            float[] nestedMap,
            float[] nestedAbsmax,
            int nestedBlockSize,
            float nestedOffset) {
        this.nested = nested;
        this.segment = segment;
        this.count = nested ? segment.byteSize() : segment.byteSize() / 4;
        this.nestedMap = nestedMap;
        this.nestedAbsmax = nestedAbsmax;
        this.nestedBlockSize = nestedBlockSize;
        this.nestedOffset = nestedOffset;
    }

    /// Plain values.
    ///
    /// @param values f32, one a block
    public static BlockAbsmax plain(MemorySegment values) {
        if (values.byteSize() % 4 != 0) {
            throw new IllegalArgumentException("absmax: expected f32 values, found " + values.byteSize() + " bytes");
        }
        return new BlockAbsmax(false, values, new float[0], new float[0], 1, 0);
    }

    /// Quantized values.
    ///
    /// @param codes u8, one a block
    /// @param nestedMap the 256 values of the codes
    /// @param nestedAbsmax one for each `nestedBlockSize` blocks
    public static BlockAbsmax nested(
            MemorySegment codes, float[] nestedMap, float[] nestedAbsmax, int nestedBlockSize, float nestedOffset) {
        if (nestedMap.length != 256) {
            throw new IllegalArgumentException("nestedMap: expected 256 values, found " + nestedMap.length);
        }
        if (nestedBlockSize < 1) {
            throw new IllegalArgumentException("nestedBlockSize: expected at least 1, found " + nestedBlockSize);
        }
        long expected = (codes.byteSize() + nestedBlockSize - 1) / nestedBlockSize;
        if (nestedAbsmax.length != expected) {
            throw new IllegalArgumentException(
                    "nestedAbsmax: expected "
                            + expected
                            + " values for "
                            + codes.byteSize()
                            + " blocks, found "
                            + nestedAbsmax.length);
        }
        return new BlockAbsmax(true, codes, nestedMap.clone(), nestedAbsmax.clone(), nestedBlockSize, nestedOffset);
    }

    /// Quantizes plain values as bitsandbytes does: less their mean, in blocks of 256 of the dynamic data type.
    public static BlockAbsmax quantize(float[] values, Arena arena) {
        int count = values.length;
        float offset = count == 0 ? 0 : new CascadeSum(count).sum(values, 0) / count;
        float[] centered = new float[count];
        for (int i = 0; i < count; i++) {
            centered[i] = values[i] - offset;
        }
        byte[] codes = new byte[count];
        int size = DynamicMap.BLOCK_SIZE;
        float[] nestedAbsmax = new float[(count + size - 1) / size];
        for (int block = 0; block < nestedAbsmax.length; block++) {
            int from = block * size;
            nestedAbsmax[block] = DynamicMap.quantize(centered, from, Math.min(count, from + size), codes);
        }
        MemorySegment stored = arena.allocate(Math.max(count, 1), Tensor.ALIGNMENT_BYTES).asSlice(0, count);
        MemorySegment.copy(codes, 0, stored, Tensor.BYTE, 0, count);
        return new BlockAbsmax(true, stored, DynamicMap.values(), nestedAbsmax, size, offset);
    }

    /// The absmax of a block.
    public float at(long block) {
        if (!nested) {
            return segment.get(Tensor.FLOAT, 4 * block);
        }
        float scaled =
                nestedMap[segment.get(Tensor.BYTE, block) & 0xFF] * nestedAbsmax[(int) (block / nestedBlockSize)];
        return scaled + nestedOffset;
    }

    /// Number of blocks.
    public long count() {
        return count;
    }

    /// Whether the values are quantized themselves.
    public boolean isNested() {
        return nested;
    }

    /// The stored values: f32, or u8 codes where nested.
    public MemorySegment segment() {
        return segment;
    }

    /// The values of the 256 codes; empty where not nested. A copy.
    public float[] nestedMap() {
        return nestedMap.clone();
    }

    /// The absmax of each nested block; empty where not nested. A copy.
    public float[] nestedAbsmax() {
        return nestedAbsmax.clone();
    }

    /// Blocks that share a nested absmax.
    public int nestedBlockSize() {
        return nestedBlockSize;
    }

    /// What is added to every decoded value; 0 where not nested.
    public float nestedOffset() {
        return nestedOffset;
    }

    /// Bytes of storage, the map of 256 values included.
    public long storageBytes() {
        return segment.byteSize() + 4L * (nestedMap.length + nestedAbsmax.length) + (nested ? 4 : 0);
    }
}
