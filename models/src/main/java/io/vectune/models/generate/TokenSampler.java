package io.vectune.models.generate;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.BitSet;
import java.util.SplittableRandom;

/// Chooses tokens from logits. The same options and logits give the same tokens. Not thread-safe.
public final class TokenSampler {
    private final GenerationOptions options;
    private final SplittableRandom random;
    private final BitSet seen = new BitSet();
    private float[] logits = {};
    private long[] ranked = {};
    private double[] weights = {};

    public TokenSampler(GenerationOptions options) {
        this.options = options;
        this.random = new SplittableRandom(options.seed());
    }

    /// Tells of a token of the text, for the repetition penalty.
    public void see(int token) {
        seen.set(token);
    }

    /// The next token.
    ///
    /// @param row (1, vocabSize), not modified
    /// @throws VectuneException if a logit is NaN or infinite: the model's weights are broken
    public int next(Matrix row) {
        int size = row.columns();
        if (logits.length != size) {
            logits = new float[size];
            ranked = new long[size];
            weights = new double[size];
        }
        MemorySegment.copy(row.segment(), Tensor.FLOAT, row.offset(), logits, 0, size);
        requireFinite();
        float penalty = options.repetitionPenalty();
        if (penalty != 1) {
            for (int token = seen.nextSetBit(0); token >= 0 && token < size; token = seen.nextSetBit(token + 1)) {
                logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
            }
        }
        return options.temperature() == 0 ? largest() : draw(keep());
    }

    private void requireFinite() {
        float zeros = 0;
        for (float logit : logits) {
            // 0 times a finite number is a zero; times NaN or an infinity it is NaN and stays NaN.
            zeros += 0 * logit;
        }
        if (zeros != 0) {
            throw new VectuneException(
                    "the logits of the next token are not finite: the model or the adapter holds values that are not"
                            + " finite or too large; check it with eval");
        }
    }

    private int largest() {
        int best = 0;
        for (int token = 1; token < logits.length; token++) {
            if (logits[token] > logits[best]) {
                best = token;
            }
        }
        return best;
    }

    /// Fills `ranked` with the tokens that the filters leave, the most probable first, and `weights` with their
    /// probabilities up to a common factor.
    ///
    /// @return how many
    private int keep() {
        int size = logits.length;
        for (int token = 0; token < size; token++) {
            // Ascending order of this key is descending order of the logit, then ascending order of the token.
            ranked[token] = ((long) ~ascending(logits[token]) << 32) | token;
        }
        int count = size;
        if (options.topK() > 0 && options.topK() < size) {
            count = options.topK();
            selectSmallest(count);
        }
        Arrays.sort(ranked, 0, count);
        double sum = 0;
        float top = logits[(int) ranked[0]];
        for (int rank = 0; rank < count; rank++) {
            weights[rank] = Math.exp(((double) logits[(int) ranked[rank]] - top) / options.temperature());
            sum += weights[rank];
        }
        if (options.topP() < 1) {
            double reached = 0;
            int rank = 0;
            while (rank < count && reached < options.topP() * sum) {
                reached += weights[rank++];
            }
            count = Math.max(1, rank);
        }
        while (count > 1 && weights[count - 1] < options.minP() * weights[0]) {
            count--;
        }
        return count;
    }

    /// Bits of a float in an order that compares as the numbers do, as a signed int.
    private static int ascending(float value) {
        int bits = Float.floatToIntBits(value);
        return bits ^ ((bits >> 31) & 0x7FFFFFFF);
    }

    /// Moves the `count` smallest keys to the front, in any order (Hoare's selection).
    private void selectSmallest(int count) {
        int from = 0;
        int to = ranked.length - 1;
        while (from < to) {
            long pivot = ranked[(from + to) >>> 1];
            int left = from;
            int right = to;
            while (left <= right) {
                while (ranked[left] < pivot) {
                    left++;
                }
                while (ranked[right] > pivot) {
                    right--;
                }
                if (left <= right) {
                    long swapped = ranked[left];
                    ranked[left++] = ranked[right];
                    ranked[right--] = swapped;
                }
            }
            if (count - 1 <= right) {
                to = right;
            } else if (count - 1 >= left) {
                from = left;
            } else {
                return;
            }
        }
    }

    private int draw(int count) {
        double sum = 0;
        for (int rank = 0; rank < count; rank++) {
            sum += weights[rank];
        }
        double left = random.nextDouble() * sum;
        int rank = 0;
        while (rank < count - 1 && left >= weights[rank]) {
            left -= weights[rank++];
        }
        return (int) ranked[rank];
    }
}
