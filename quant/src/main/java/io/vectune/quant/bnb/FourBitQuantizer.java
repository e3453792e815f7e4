package io.vectune.quant.bnb;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Quantizes dense weights to NF4 and FP4: the bytes of bitsandbytes 0.50.2 on the CPU, for any number of threads.
///
///     absmax[b] = max |w| over block b
///     scaled    = w * (1 / max(absmax, 1e-38)) in a full block, w / absmax in a last block that is not full
///     code      = number of midpoints below `scaled`, in the order of the values
///
/// All arithmetic is f32, whatever the type of the input.
public final class FourBitQuantizer {
    private static final FourBitKernels KERNELS =
            KernelTier.active() == KernelTier.VECTOR ? new FourBitVector() : new FourBitScalar();
    private static final int CHUNK_ELEMENTS = 16_384;
    private static final float LEAST_ABSMAX = 1e-38f;

    private FourBitQuantizer() {}

    /// Quantizes one weight.
    ///
    /// @param name what messages call the weight
    /// @param weight F32, F16 or BF16, (outFeatures, inFeatures); a vector counts as one row
    /// @param arena holds the result
    /// @throws VectuneException if a value is not finite; the message says where
    public static FourBitWeight quantize(
            Compute compute, String name, Tensor weight, FourBitConfig config, Arena arena) {
        FloatRows rows = new FloatRows(name, weight);
        long elements = weight.elements();
        int blockSize = config.blockSize();
        int blocks = Math.toIntExact((elements + blockSize - 1) / blockSize);
        int itemBytes = config.storageDtype().bytes();
        long packedBytes = ((elements + 1) / 2 + itemBytes - 1) / itemBytes * itemBytes;
        MemorySegment packed = arena.allocate(Math.max(packedBytes, 1), Tensor.ALIGNMENT_BYTES).asSlice(0, packedBytes);
        float[] absmax = new float[blocks];
        int chunkBlocks = Math.max(1, CHUNK_ELEMENTS / blockSize);
        int chunks = (blocks + chunkBlocks - 1) / chunkBlocks;
        compute.team()
                .run(
                        chunks,
                        1,
                        (from, to, worker) -> {
                            float[] values = compute.scratch(worker, 0, chunkBlocks * blockSize);
                            byte[] codes = new byte[chunkBlocks * blockSize + 1];
                            for (int chunk = from; chunk < to; chunk++) {
                                long element = (long) chunk * chunkBlocks * blockSize;
                                int count = (int) Math.min((long) chunkBlocks * blockSize, elements - element);
                                rows.read(element, count, values);
                                quantizeChunk(config, rows, values, element, count, absmax, codes, packed);
                            }
                        });
        BlockAbsmax stored = config.doubleQuant() ? BlockAbsmax.quantize(absmax, arena) : plain(absmax, arena);
        return new FourBitWeight(config, weight.dtype(), rows.outFeatures(), rows.inFeatures(), packed, stored);
    }

    private static BlockAbsmax plain(float[] absmax, Arena arena) {
        MemorySegment segment =
                arena.allocate(Math.max(4L * absmax.length, 1), Tensor.ALIGNMENT_BYTES).asSlice(0, 4L * absmax.length);
        MemorySegment.copy(absmax, 0, segment, Tensor.FLOAT, 0, absmax.length);
        return BlockAbsmax.plain(segment);
    }

    private static void quantizeChunk(
            FourBitConfig config,
            FloatRows rows,
            float[] values,
            long element,
            int count,
            float[] absmax,
            byte[] codes,
            MemorySegment packed) {
        int blockSize = config.blockSize();
        for (int from = 0; from < count; from += blockSize) {
            int to = Math.min(count, from + blockSize);
            boolean full = to - from == blockSize;
            float largest = KERNELS.absmax(values, from, to);
            if (!(largest <= Float.MAX_VALUE)) {
                throw rows.notFinite(values, from, to, element);
            }
            absmax[(int) ((element + from) / blockSize)] = full ? largest : Math.max(largest, LEAST_ABSMAX);
            KERNELS.codes(Codebook.of(config.type()), values, from, to, largest, full, codes);
        }
        codes[count] = (byte) config.type().zeroCode();
        int bytes = (count + 1) / 2;
        for (int i = 0; i < bytes; i++) {
            codes[i] = (byte) (codes[2 * i] << 4 | codes[2 * i + 1]);
        }
        MemorySegment.copy(codes, 0, packed, Tensor.BYTE, element / 2, bytes);
    }
}
