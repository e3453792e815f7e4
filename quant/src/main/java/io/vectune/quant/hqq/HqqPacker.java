package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Turns weights into packed words, given the scale and the zero point of each group.
final class HqqPacker {
    private static final int CHUNK = 4096;

    private HqqPacker() {}

    /// Writes all words.
    ///
    /// @param weights f32 [elements of the geometry]
    static void pack(
            Compute compute, MemorySegment weights, HqqGeometry geometry, GroupLevels levels, MemorySegment packed) {
        long words = geometry.words();
        int chunks = Math.toIntExact((words + CHUNK - 1) / CHUNK);
        compute.team()
                .run(
                        chunks,
                        4,
                        (from, to, worker) -> {
                            int[] chunk = new int[CHUNK];
                            byte[] bytes = new byte[CHUNK];
                            for (int index = from; index < to; index++) {
                                long word = (long) index * CHUNK;
                                int count = (int) Math.min(CHUNK, words - word);
                                Arrays.fill(chunk, 0);
                                HqqPacking packing = geometry.packing();
                                for (int slot = 0; slot < packing.slots(); slot++) {
                                    long flat = slot * words + word;
                                    int real = Math.clamp(geometry.elements() - flat, 0, count);
                                    insert(weights, geometry, flat, real, levels, slot, chunk);
                                }
                                store(chunk, count, packing, packed, word, bytes);
                            }
                        });
    }

    private static void insert(
            MemorySegment weights,
            HqqGeometry geometry,
            long flat,
            int count,
            GroupLevels levels,
            int slot,
            int[] chunk) {
        int shift = geometry.packing().shift(slot);
        int groupSize = geometry.groupSize();
        for (int done = 0; done < count; ) {
            long at = flat + done;
            int group = geometry.groupOf(at);
            int run;
            if (geometry.axis() == 1) {
                run = (int) Math.min(count - done, (group + 1L) * groupSize - at);
                SolverKernels.ACTIVE.codes(weights, at, run, levels, group, shift, chunk, done);
            } else {
                run = Math.min(count - done, geometry.groups() - group);
                SolverKernels.ACTIVE.codesAcross(weights, at, run, levels, group, shift, chunk, done);
            }
            done += run;
        }
    }

    private static void store(
            int[] chunk, int count, HqqPacking packing, MemorySegment packed, long word, byte[] bytes) {
        if (packing == HqqPacking.I32_3) {
            MemorySegment.copy(chunk, 0, packed, Tensor.INT, 4 * word, count);
            return;
        }
        for (int i = 0; i < count; i++) {
            bytes[i] = (byte) chunk[i];
        }
        MemorySegment.copy(bytes, 0, packed, Tensor.BYTE, word, count);
    }
}
