package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.CacheSizes;

/// The sizes of the blocks of a product, from the caches of the machine.
///
/// @param groupRows left rows that stay in the second-level cache while the panels pass: half of it, since the panels
///   and the running sums pass through the other half
/// @param unitSums the most running sums of a unit of work: with several blocks of k they pass through the cache behind
///   the second level once a block, and should not take the room of the packed side there
record BlockSizes(int groupRows, int unitSums) {
    private static final int MIN_ROWS = 24;

    /// More rows bring nothing once their panels pass unnoticed.
    private static final int MAX_ROWS = 192;

    private static final int MIN_SUMS = 1 << 16;
    private static final int MAX_SUMS = 3 << 17;

    static BlockSizes of(CacheSizes caches) {
        long rows = caches.secondLevel() / 2 / (4L * TileKernels.LEFT_STRIDE) / MIN_ROWS * MIN_ROWS;
        long sums = caches.lastLevelPerCore() / 8 / Float.BYTES;
        return new BlockSizes(Math.clamp(rows, MIN_ROWS, MAX_ROWS), Math.clamp(sums, MIN_SUMS, MAX_SUMS));
    }
}
