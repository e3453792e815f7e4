package io.vectune.models.text;

import java.util.Arrays;

/// Pairs of token ids to the rank of their merge and the id it gives: open addressing over primitive arrays.
final class MergeTable {
    /// The rank of a pair that does not merge.
    static final int NONE = Integer.MAX_VALUE;

    private static final long EMPTY = -1;

    private final long[] pairs;
    private final int[] ranks;
    private final int[] results;
    private final int mask;

    MergeTable(int capacity) {
        // At most half full, so that probing stays short.
        int size = Integer.highestOneBit(Math.max(4, 4 * capacity - 1));
        pairs = new long[size];
        ranks = new int[size];
        results = new int[size];
        mask = size - 1;
        Arrays.fill(pairs, EMPTY);
    }

    private static long pair(int left, int right) {
        return ((long) left << 32) | right;
    }

    private int slot(long pair) {
        // Fibonacci hashing: the golden ratio in 64 bits spreads neighbouring ids.
        int at = (int) ((pair * 0x9E3779B97F4A7C15L) >>> 32) & mask;
        while (pairs[at] != EMPTY && pairs[at] != pair) {
            at = (at + 1) & mask;
        }
        return at;
    }

    /// Adds or replaces a merge: as in the reference library, the last of two merges of one pair counts.
    void put(int left, int right, int rank, int result) {
        int at = slot(pair(left, right));
        pairs[at] = pair(left, right);
        ranks[at] = rank;
        results[at] = result;
    }

    /// The rank of a pair, or [#NONE].
    int rank(int left, int right) {
        int at = slot(pair(left, right));
        return pairs[at] == EMPTY ? NONE : ranks[at];
    }

    /// The id that a merging pair gives.
    int result(int left, int right) {
        return results[slot(pair(left, right))];
    }
}
