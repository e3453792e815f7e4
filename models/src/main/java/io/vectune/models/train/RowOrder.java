package io.vectune.models.train;

import java.util.Arrays;
import java.util.SplittableRandom;

/// In which order the rows of a data set come: those of the file, again and again, or another permutation each epoch,
/// drawn from the seed. A pure function of the place; not thread-safe, as it keeps the permutation of one epoch.
final class RowOrder {
    private static final long EPOCH_STRIDE = 0x9E3779B97F4A7C15L;

    private final int rows;
    private final boolean shuffle;
    private final long seed;
    private long permutedEpoch = -1;
    private int[] permutation = {};

    RowOrder(int rows, boolean shuffle, long seed) {
        this.rows = rows;
        this.shuffle = shuffle;
        this.seed = seed;
    }

    /// The row at a place of the endless sequence.
    int row(long place) {
        int inEpoch = (int) (place % rows);
        if (!shuffle) {
            return inEpoch;
        }
        long epoch = place / rows;
        if (epoch != permutedEpoch) {
            permutation = permutation(epoch);
            permutedEpoch = epoch;
        }
        return permutation[inEpoch];
    }

    /// The order in words.
    String description() {
        return rows + " rows " + (shuffle ? "shuffled with seed " + seed : "in order");
    }

    /// Fisher-Yates.
    private int[] permutation(long epoch) {
        SplittableRandom random = new SplittableRandom(seed + EPOCH_STRIDE * (epoch + 1));
        int[] order = new int[rows];
        Arrays.setAll(order, index -> index);
        for (int last = order.length - 1; last > 0; last--) {
            int other = random.nextInt(last + 1);
            int swapped = order[last];
            order[last] = order[other];
            order[other] = swapped;
        }
        return order;
    }
}
