package io.vectune.adapters.arithmetic;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// One LoRA from several adapters, as PEFT's add_weighted_adapter makes it.
///
/// Sources are any adapters with an exact low-rank form. Methods without SVD work on the factors; the others combine
/// the full changes of the weight and keep the best approximation of the wanted rank.
///
/// PEFT's factor methods scale A and B by sqrt(weight * scaling) each and combine them separately, which adds cross
/// terms A_i B_j that nobody asked for, and keep use_rslora, which overscales the result by sqrt(rank). Here they are
/// free of both: combined changes, then an SVD of the same rank. `Parity.PEFT` gives PEFT's factors (with scaling 1, so
/// without the overscale).
///
/// Source peft tuners/lora/model.py (add_weighted_adapter), utils/merge_utils.py
public final class WeightedCombination {
    /// How sources combine.
    public enum Method {
        /// Factors side by side: exact, the ranks add up.
        CAT,
        /// Weighted sum.
        LINEAR,
        /// Prune by size, elect signs, average what agrees.
        TIES,
        /// Drop at random and rescale, then sum.
        DARE_LINEAR,
        /// Drop at random and rescale, elect signs, average what agrees.
        DARE_TIES,
        /// Prune by size, then sum.
        MAGNITUDE_PRUNE
    }

    /// Whose arithmetic.
    public enum Parity {
        /// On the changes of the weight, truncated to the rank by SVD.
        EXACT,
        /// On A and B separately, as PEFT does; all sources need the same rank.
        PEFT
    }

    /// A source with its weight.
    public record Source(AdapterSet set, double weight) {}

    /// The options.
    ///
    /// @param rank of the result; 0 for the largest rank of the sources
    /// @param density part of the entries that pruning keeps
    /// @param frequency whether signs are elected by count instead of by sum
    /// @param seed of DARE's masks
    public record Options(Method method, Parity parity, int rank, double density, boolean frequency, long seed) {
        public Options {
            if (!(density > 0 && density <= 1)) {
                throw new IllegalArgumentException("density: expected a number above 0 up to 1, found " + density);
            }
            if (rank < 0) {
                throw new IllegalArgumentException("rank: expected 0 or more, found " + rank);
            }
        }
    }

    private WeightedCombination() {}

    /// Combines adapters; a layer that a source does not have counts as unchanged by it.
    ///
    /// @throws VectuneException if a source has no exact low-rank form or changes a bias, a norm or an embedding, or if
    ///   ranks differ where they must not
    public static AdapterSet combine(List<Source> sources, Options options, Compute compute) {
        if (sources.isEmpty()) {
            throw new IllegalArgumentException("expected at least one adapter to combine");
        }
        Set<String> modules = new LinkedHashSet<>();
        sources.forEach(source -> modules.addAll(source.set.adapters().keySet()));
        List<AdapterSet.Weighted> members =
                sources.stream().map(source -> new AdapterSet.Weighted(source.set, 1)).toList();
        try (Arena arena = Arena.ofShared();
                AdapterSet all = AdapterSet.compose(members)) {
            Map<String, LoraExport.Factors> result = new LinkedHashMap<>();
            for (String module : modules) {
                result.put(module, layer(module, all.site(module), sources, options, compute, arena));
            }
            return LoraExport.build(all, result, compute);
        }
    }

    private static LoraExport.Factors layer(
            String module, LayerSite site, List<Source> sources, Options options, Compute compute, Arena arena) {
        List<LowRankForm.Factors> factors = new ArrayList<>();
        List<Double> weights = new ArrayList<>();
        for (Source source : sources) {
            Adapter adapter = source.set.adapter(module);
            if (adapter != null) {
                LoraExport.requireExpressible(module, site, adapter);
            }
            switch (adapter) {
                case null -> {}
                case LowRankForm low -> {
                    factors.add(low.lowRank(compute));
                    weights.add(source.weight);
                }
                default ->
                        throw new VectuneException(
                                module + ": only adapters with an exact low-rank form can be combined; export first");
            }
        }
        int out = site.weight().outFeatures();
        int in = site.weight().inFeatures();
        if (options.method == Method.CAT) {
            return cat(factors, weights, out, in, arena);
        }
        if (options.parity == Parity.PEFT) {
            return separately(module, factors, weights, options, out, in, arena);
        }
        List<double[]> deltas = new ArrayList<>();
        for (LowRankForm.Factors pair : factors) {
            deltas.add(delta(pair, out, in));
        }
        double[] combined = merge(deltas, array(weights), options, SplitMix.of(options.seed, module));
        int most = factors.stream().mapToInt(pair -> pair.a().rows()).max().orElse(1);
        int rank = Math.min(options.rank == 0 ? most : options.rank, Math.min(out, in));
        return LoraExport.split(TopSvd.exact(combined, out, in, rank), out, in, arena);
    }

    private static double[] array(List<Double> values) {
        return values.stream().mapToDouble(Double::doubleValue).toArray();
    }

    private static double[] merge(List<double[]> tensors, double[] weights, Options options, SplitMix random) {
        List<double[]> sparse = new ArrayList<>();
        for (double[] tensor : tensors) {
            sparse.add(
                    switch (options.method) {
                        case TIES, MAGNITUDE_PRUNE -> SparseMerging.magnitudePrune(tensor, options.density);
                        case DARE_LINEAR, DARE_TIES -> SparseMerging.dare(tensor, options.density, random);
                        default -> tensor;
                    });
        }
        return switch (options.method) {
            case TIES, DARE_TIES ->
                    SparseMerging.electAndMerge(
                            sparse,
                            weights,
                            options.frequency ? SparseMerging.Election.FREQUENCY : SparseMerging.Election.TOTAL);
            default -> SparseMerging.sum(sparse, weights);
        };
    }

    private static LoraExport.Factors cat(
            List<LowRankForm.Factors> factors, List<Double> weights, int out, int in, Arena arena) {
        int rank = factors.stream().mapToInt(pair -> pair.a().rows()).sum();
        Matrix a = Matrix.allocate(arena, rank, in);
        Matrix b = Matrix.allocate(arena, out, rank);
        int at = 0;
        for (int index = 0; index < factors.size(); index++) {
            LowRankForm.Factors pair = factors.get(index);
            int own = pair.a().rows();
            double scale = weights.get(index) * pair.scaling();
            for (int k = 0; k < own; k++) {
                for (int i = 0; i < in; i++) {
                    a.set(at + k, i, (float) (scale * pair.a().get(k, i)));
                }
            }
            b.columns(at, at + own).copyFrom(pair.b());
            at += own;
        }
        return new LoraExport.Factors(a, b);
    }

    private static LoraExport.Factors separately(
            String module,
            List<LowRankForm.Factors> factors,
            List<Double> weights,
            Options options,
            int out,
            int in,
            Arena arena) {
        int rank = factors.getFirst().a().rows();
        List<double[]> ofA = new ArrayList<>();
        List<double[]> ofB = new ArrayList<>();
        double[] signed = new double[factors.size()];
        double[] sizes = new double[factors.size()];
        for (int index = 0; index < factors.size(); index++) {
            LowRankForm.Factors pair = factors.get(index);
            if (pair.a().rows() != rank) {
                throw new VectuneException(
                        module
                                + ": expected sources of one rank, found "
                                + rank
                                + " and "
                                + pair.a().rows()
                                + "; use cat or exact arithmetic");
            }
            double scale = weights.get(index) * pair.scaling();
            sizes[index] = Math.sqrt(Math.abs(scale));
            signed[index] = Math.signum(scale) * sizes[index];
            ofA.add(doubles(pair.a()));
            ofB.add(doubles(pair.b()));
        }
        SplitMix random = SplitMix.of(options.seed, module);
        Matrix a = Matrix.allocate(arena, rank, in);
        store(merge(ofA, signed, options, random), a);
        Matrix b = Matrix.allocate(arena, out, rank);
        store(merge(ofB, sizes, options, random), b);
        return new LoraExport.Factors(a, b);
    }

    private static double[] doubles(Matrix matrix) {
        float[] values = matrix.toArray();
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    private static void store(double[] values, Matrix matrix) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                matrix.set(row, column, (float) values[row * matrix.columns() + column]);
            }
        }
    }

    private static double[] delta(LowRankForm.Factors pair, int out, int in) {
        double[] a = doubles(pair.a());
        double[] b = doubles(pair.b());
        int rank = pair.a().rows();
        double[] delta = new double[Math.multiplyExact(out, in)];
        for (int o = 0; o < out; o++) {
            for (int k = 0; k < rank; k++) {
                double factor = pair.scaling() * b[o * rank + k];
                for (int i = 0; i < in; i++) {
                    delta[o * in + i] += factor * a[k * in + i];
                }
            }
        }
        return delta;
    }
}
