package io.vectune.quant.bnb;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// Appends zero columns to a 4-bit weight without decoding it: each row keeps its blocks bit for bit and gets blocks of
/// zero codes behind them. Rows must consist of whole blocks.
///
/// Nested statistics stay nested where each new nested block takes its entries from one old nested block; offset and
/// map are unchanged. Where that is impossible the absmax become plain, with the same values.
final class FourBitExpansion {
    private final FourBitWeight weight;
    private final int rows;
    private final int oldBlocks;
    private final int newBlocks;

    private FourBitExpansion(FourBitWeight weight, int oldBlocks, int newBlocks) {
        this.weight = weight;
        this.rows = weight.outFeatures();
        this.oldBlocks = oldBlocks;
        this.newBlocks = newBlocks;
    }

    static FourBitWeight widen(FourBitWeight weight, int inFeatures, Arena arena) {
        FourBitConfig config = weight.config();
        int block = config.blockSize();
        if (weight.inFeatures() % block != 0 || inFeatures % block != 0 || inFeatures < weight.inFeatures()) {
            throw new VectuneException(
                    "widening from "
                            + weight.inFeatures()
                            + " to "
                            + inFeatures
                            + " input features: expected a larger width, both multiples of the block size "
                            + block
                            + "; use the virtual form, which needs no blocks");
        }
        int oldBlocks = weight.inFeatures() / block;
        int newBlocks = inFeatures / block;
        FourBitExpansion expansion = new FourBitExpansion(weight, oldBlocks, newBlocks);
        BlockAbsmax nested = weight.absmax().isNested() ? expansion.nested(arena) : null;
        BlockAbsmax absmax = nested == null ? expansion.plain(arena) : nested;
        FourBitConfig kept = new FourBitConfig(config.type(), block, absmax.isNested(), config.storageDtype());
        return new FourBitWeight(
                kept, weight.computeDtype(), expansion.rows, inFeatures, expansion.packed(inFeatures, arena), absmax);
    }

    private MemorySegment packed(int inFeatures, Arena arena) {
        long oldBytes = weight.inFeatures() / 2;
        long newBytes = inFeatures / 2;
        MemorySegment packed = arena.allocate(rows * newBytes, Tensor.ALIGNMENT_BYTES);
        byte zero = weight.config().type() == FourBitType.NF4 ? (byte) 0x77 : 0;
        if (zero != 0) {
            packed.fill(zero);
        }
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(weight.packed(), row * oldBytes, packed, row * newBytes, oldBytes);
        }
        return packed;
    }

    private BlockAbsmax plain(Arena arena) {
        MemorySegment values = arena.allocate(4L * rows * newBlocks, Tensor.ALIGNMENT_BYTES);
        for (int row = 0; row < rows; row++) {
            for (int block = 0; block < oldBlocks; block++) {
                float absmax = weight.absmax().at((long) row * oldBlocks + block);
                values.set(Tensor.FLOAT, 4 * ((long) row * newBlocks + block), absmax);
            }
        }
        return BlockAbsmax.plain(values);
    }

    /// Nested statistics, or null where a new nested block would mix old ones.
    private @Nullable BlockAbsmax nested(Arena arena) {
        BlockAbsmax old = weight.absmax();
        int size = old.nestedBlockSize();
        long count = (long) rows * newBlocks;
        int[] from = new int[Math.toIntExact((count + size - 1) / size)];
        Arrays.fill(from, -1);
        MemorySegment codes = arena.allocate(count, Tensor.ALIGNMENT_BYTES);
        for (int row = 0; row < rows; row++) {
            for (int block = 0; block < newBlocks; block++) {
                long entry = (long) row * newBlocks + block;
                long source = (long) row * oldBlocks + Math.min(block, oldBlocks - 1);
                // The absmax of a zero block counts for nothing: that of its neighbor will do.
                codes.set(Tensor.BYTE, entry, old.segment().get(Tensor.BYTE, source));
                int target = Math.toIntExact(entry / size);
                int origin = Math.toIntExact(source / size);
                if (block < oldBlocks && from[target] >= 0 && from[target] != origin) {
                    return null;
                }
                if (block < oldBlocks) {
                    from[target] = origin;
                }
            }
        }
        float[] oldAbsmax = old.nestedAbsmax();
        float[] absmax = new float[from.length];
        for (int i = 0; i < from.length; i++) {
            absmax[i] = from[i] < 0 ? 0 : oldAbsmax[from[i]];
        }
        return BlockAbsmax.nested(codes, old.nestedMap(), absmax, size, old.nestedOffset());
    }

    /// The weight times a factor, folded into its absmax.
    static FourBitWeight scale(FourBitWeight weight, float factor, Arena arena) {
        BlockAbsmax old = weight.absmax();
        BlockAbsmax scaled;
        if (old.isNested()) {
            float[] absmax = old.nestedAbsmax();
            for (int i = 0; i < absmax.length; i++) {
                absmax[i] *= factor;
            }
            scaled =
                    BlockAbsmax.nested(
                            old.segment(), old.nestedMap(), absmax, old.nestedBlockSize(), old.nestedOffset() * factor);
        } else {
            MemorySegment values = arena.allocate(4 * old.count(), Tensor.ALIGNMENT_BYTES);
            for (long block = 0; block < old.count(); block++) {
                values.set(Tensor.FLOAT, 4 * block, old.at(block) * factor);
            }
            scaled = BlockAbsmax.plain(values);
        }
        return new FourBitWeight(
                weight.config(),
                weight.computeDtype(),
                weight.outFeatures(),
                weight.inFeatures(),
                weight.packed(),
                scaled);
    }
}
