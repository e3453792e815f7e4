package io.vectune.adapters.arithmetic;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Turns any adapter into a plain LoRA: exactly where its change of the weight is a low-rank product, by the best
/// approximation of a given rank where it is not.
public final class LoraExport {
    // Of the random start of large decompositions: results repeat.
    private static final long SEED = 1;

    private LoraExport() {}

    /// What became of a layer.
    ///
    /// @param module the layer
    /// @param rank the rank of its LoRA
    /// @param exact whether nothing was lost
    /// @param relativeError |dW - s B A| / |dW| in the Frobenius norm, 0 where exact
    public record Layer(String module, int rank, boolean exact, double relativeError) {}

    /// The LoRA and what it cost.
    public record Result(AdapterSet set, List<Layer> layers) {}

    /// Factors of a layer with scaling 1.
    ///
    /// @param a (rank, inFeatures)
    /// @param b (outFeatures, rank)
    record Factors(Matrix a, Matrix b) {}

    /// Exports an adapter.
    ///
    /// @param rank the rank where an approximation is needed
    /// @throws VectuneException if an adapter changes biases, norms or embeddings, which a LoRA cannot express
    public static Result export(AdapterSet source, Compute compute, int rank) {
        Map<String, Factors> factors = new LinkedHashMap<>();
        List<Layer> layers = new ArrayList<>();
        try (Arena arena = Arena.ofShared()) {
            source.adapters()
                    .forEach((module, adapter) -> {
                        LayerSite site = source.site(module);
                        requireExpressible(module, site, adapter);
                        if (adapter instanceof LowRankForm low) {
                            factors.put(module, exact(low.lowRank(compute), arena));
                            int width = low.lowRank(compute).a().rows();
                            layers.add(new Layer(module, width, true, 0));
                        } else {
                            layers.add(approximate(adapter, site, compute, rank, arena, factors));
                        }
                    });
            return new Result(build(source, factors, compute), layers);
        }
    }

    /// Refuses what a plain LoRA cannot hold, so that nothing of an adapter is lost silently.
    ///
    /// @throws VectuneException if the adapter changes a bias, a norm or an embedding
    static void requireExpressible(String module, LayerSite site, Adapter adapter) {
        if (!site.part().isLinear()) {
            throw new VectuneException(
                    module
                            + ": "
                            + adapter.kind()
                            + " changes "
                            + (site.part() == LayerSite.Part.NORM ? "a norm" : "an embedding")
                            + ", which a LoRA cannot express; merge it instead");
        }
        if (adapter.changesBias()) {
            throw new VectuneException(
                    module
                            + ": "
                            + adapter.kind()
                            + " changes the bias, which a LoRA cannot express; merge it instead");
        }
    }

    private static Factors exact(LowRankForm.Factors factors, Arena arena) {
        Matrix a = Matrix.allocate(arena, factors.a().rows(), factors.a().columns());
        a.copyFrom(factors.a());
        Matrix b = Matrix.allocate(arena, factors.b().rows(), factors.b().columns());
        for (int o = 0; o < b.rows(); o++) {
            for (int k = 0; k < b.columns(); k++) {
                b.set(o, k, factors.scaling() * factors.b().get(o, k));
            }
        }
        return new Factors(a, b);
    }

    private static Layer approximate(
            Adapter adapter, LayerSite site, Compute compute, int rank, Arena arena, Map<String, Factors> factors) {
        int out = site.weight().outFeatures();
        int in = site.weight().inFeatures();
        try (Arena scratch = Arena.ofShared()) {
            Tensor change = Tensor.allocate(scratch, DType.F32, out, in);
            double[] delta = delta(adapter, site, compute, scratch);
            for (int i = 0; i < delta.length; i++) {
                change.setFloat(i, (float) delta[i]);
            }
            int kept = Math.min(rank, Math.min(out, in));
            Factors best = split(TopSvd.of(compute, new DenseWeight(change), kept, SEED), out, in, arena);
            factors.put(site.name(), best);
            double total = norm(change.asMatrix());
            MatMul.nn(compute, -1, best.b(), best.a(), change.asMatrix(), true);
            return new Layer(site.name(), kept, false, total == 0 ? 0 : norm(change.asMatrix()) / total);
        }
    }

    private static double norm(Matrix matrix) {
        double sum = 0;
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                sum += (double) matrix.get(row, column) * matrix.get(row, column);
            }
        }
        return Math.sqrt(sum);
    }

    /// dW = merged - W, in double.
    static double[] delta(Adapter adapter, LayerSite site, Compute compute, Arena arena) {
        int out = site.weight().outFeatures();
        int in = site.weight().inFeatures();
        Matrix merged = Matrix.allocate(arena, out, in);
        adapter.merge(compute, site.weight(), merged);
        double[] delta = new double[Math.multiplyExact(out, in)];
        float[] row = new float[in];
        for (int o = 0; o < out; o++) {
            site.weight().decode(o, o + 1, 0, in, row, 0, in);
            for (int i = 0; i < in; i++) {
                delta[o * in + i] = (double) merged.get(o, i) - row[i];
            }
        }
        return delta;
    }

    /// B = U S, A = Vᵀ.
    static Factors split(TopSvd svd, int out, int in, Arena arena) {
        int rank = svd.s().length;
        Matrix a = Matrix.allocate(arena, rank, in);
        Matrix b = Matrix.allocate(arena, out, rank);
        for (int k = 0; k < rank; k++) {
            for (int i = 0; i < in; i++) {
                a.set(k, i, (float) svd.v()[k * in + i]);
            }
            for (int o = 0; o < out; o++) {
                b.set(o, k, (float) (svd.u()[o * rank + k] * svd.s()[k]));
            }
        }
        return new Factors(a, b);
    }

    /// A LoRA set of scaling 1 with these factors; ranks differ by layer through rank_pattern.
    static AdapterSet build(AdapterSet source, Map<String, Factors> factors, Compute compute) {
        List<LayerSite> targets = factors.keySet().stream().map(source::site).toList();
        int most = factors.values().stream().mapToInt(pair -> pair.a().rows()).max().orElse(1);
        Map<String, Object> ranks = new LinkedHashMap<>();
        factors.forEach((module, pair) -> {
            if (pair.a().rows() != most) {
                ranks.put(module, pair.a().rows());
            }
        });
        AdapterConfig config =
                AdapterConfig.of(
                        "lora",
                        Map.of(
                                "r", most,
                                "lora_alpha", most,
                                "rank_pattern", ranks,
                                "alpha_pattern", ranks,
                                "target_modules", List.copyOf(factors.keySet())));
        return AdapterSet.build(
                config,
                targets,
                targets,
                site -> StoredShapes.NONE,
                (adapter, site) -> {
                    Factors pair = factors.get(site.name());
                    for (AdapterParameter parameter : adapter.parameters()) {
                        if (pair != null) {
                            parameter.values().copyFrom(parameter.name().equals("loraA") ? pair.a() : pair.b());
                        }
                    }
                },
                compute);
    }
}
