package io.vectune.adapters.arithmetic;

import io.vectune.adapters.random.SplitMix;
import java.util.Arrays;
import java.util.List;

/// Elementwise merging of task tensors of one shape.
///
/// - magnitude pruning keeps the `density` largest entries by size;
/// - DARE (Yu et al. 2023, arXiv 2311.03099) keeps each entry with probability `density` and divides by it;
/// - TIES (Yadav et al. 2023, arXiv 2306.01708) prunes, elects a sign for each entry and averages those that agree.
final class SparseMerging {
    private SparseMerging() {}

    /// Which sign wins an entry.
    enum Election {
        /// The sign of the sum.
        TOTAL,
        /// The sign of the sum of signs.
        FREQUENCY
    }

    /// A copy with all but the `density * length` entries of largest size set to 0.
    static double[] magnitudePrune(double[] tensor, double density) {
        int kept = (int) (density * tensor.length);
        double[] sizes = new double[tensor.length];
        for (int i = 0; i < tensor.length; i++) {
            sizes[i] = Math.abs(tensor[i]);
        }
        double[] sorted = sizes.clone();
        Arrays.sort(sorted);
        double[] pruned = new double[tensor.length];
        if (kept == 0) {
            return pruned;
        }
        double threshold = sorted[tensor.length - kept];
        int left = kept;
        for (int i = 0; i < tensor.length; i++) {
            if (sizes[i] > threshold) {
                pruned[i] = tensor[i];
                left--;
            }
        }
        for (int i = 0; i < tensor.length && left > 0; i++) {
            if (sizes[i] == threshold) {
                pruned[i] = tensor[i];
                left--;
            }
        }
        return pruned;
    }

    /// A copy whose entries are kept with probability `density` and divided by it.
    static double[] dare(double[] tensor, double density, SplitMix random) {
        double[] dropped = new double[tensor.length];
        for (int i = 0; i < tensor.length; i++) {
            if (random.nextDouble() < density) {
                dropped[i] = tensor[i] / density;
            }
        }
        return dropped;
    }

    /// sum_i weights[i] tensors[i].
    static double[] sum(List<double[]> tensors, double[] weights) {
        double[] total = new double[tensors.getFirst().length];
        for (int index = 0; index < tensors.size(); index++) {
            double[] tensor = tensors.get(index);
            for (int i = 0; i < total.length; i++) {
                total[i] += weights[index] * tensor[i];
            }
        }
        return total;
    }

    /// The weighted entries that agree with the elected sign, averaged over how many agree; 0 counts as positive.
    static double[] electAndMerge(List<double[]> tensors, double[] weights, Election election) {
        double[] merged = new double[tensors.getFirst().length];
        for (int i = 0; i < merged.length; i++) {
            double vote = 0;
            for (double[] tensor : tensors) {
                vote += election == Election.TOTAL ? tensor[i] : Math.signum(tensor[i]);
            }
            double sign = vote >= 0 ? 1 : -1;
            int agree = 0;
            double sum = 0;
            for (int index = 0; index < tensors.size(); index++) {
                double value = tensors.get(index)[i];
                if (Math.signum(value) == sign) {
                    agree++;
                    sum += weights[index] * value;
                }
            }
            merged[i] = sum / Math.max(1, agree);
        }
        return merged;
    }
}
