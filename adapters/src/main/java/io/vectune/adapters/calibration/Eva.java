package io.vectune.adapters.calibration;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// EVA (Paischer et al. 2024, arXiv 2410.07170): LoRA whose A starts at the principal directions of the layer's inputs,
/// with ranks moved to the layers where directions explain most.
///
/// The budget is rank * layers. Each layer offers round(rank * rho) directions; the ones of largest explained variance
/// over all layers are taken, so ranks differ and sum to the budget; a layer left with none gets no adapter. Scaling
/// stays what it was: alpha grows with the rank.
///
/// Deviation PEFT finds directions by an incremental randomized SVD until they stop turning; here the second moment is
/// exact, so both agree as subspaces only, and only loosely Source peft tuners/lora/eva.py
public final class Eva {
    private Eva() {}

    /// How ranks move.
    ///
    /// @param rho how many times its rank a layer may get at most; 1 keeps ranks as they are
    /// @param centered whether the mean input is taken out first
    public record Options(double rho, boolean centered) {
        /// What PEFT does.
        public static final Options DEFAULT = new Options(2, true);

        public Options {
            if (!(rho >= 1)) {
                throw new IllegalArgumentException("rho: expected at least 1, found " + rho);
            }
        }
    }

    private record Offer(String module, int component, double explained) {}

    /// Makes the adapters from what a recorder saw.
    ///
    /// @param config of LoRA with the targets; `init_lora_weights` may be anything
    /// @throws VectuneException if a layer saw fewer tokens than directions are wanted
    public static AdapterSet create(
            AdapterConfig config,
            List<LayerSite> sites,
            InputRecorder recorder,
            Options options,
            Compute compute,
            long seed) {
        List<LayerSite> targets = config.select(sites, true);
        ConfigFields fields = new ConfigFields("eva", withoutNulls(config.fields()));
        int rank = fields.positive("r", 8);
        double alpha = fields.number("lora_alpha", 8);
        Map<String, InputMoments.Principal> byOwner = new LinkedHashMap<>();
        List<Offer> offers = new ArrayList<>();
        for (LayerSite site : targets) {
            int most = (int) Math.min(Math.rint(rank * options.rho), site.weight().inFeatures());
            InputMoments moments = recorder.moments(site.name());
            if (moments.tokens() < most) {
                throw new VectuneException(
                        site.name()
                                + ": EVA needs at least "
                                + most
                                + " calibration tokens for rank "
                                + rank
                                + " and rho "
                                + options.rho
                                + ", found "
                                + moments.tokens()
                                + "; give more rows, or lower r");
            }
            InputMoments.Principal principal =
                    byOwner.computeIfAbsent(
                            recorder.owner(site.name()),
                            owner -> moments.principal(compute, most, options.centered, seed));
            for (int k = 0; k < Math.min(most, principal.explained().length); k++) {
                offers.add(new Offer(site.name(), k, principal.explained()[k]));
            }
        }
        Map<String, Integer> ranks = share(offers, rank * targets.size());
        Map<String, Matrix> directions = new LinkedHashMap<>();
        ranks.keySet()
                .forEach(module -> {
                    InputMoments.Principal principal = byOwner.get(recorder.owner(module));
                    if (principal != null) {
                        directions.put(module, principal.directions());
                    }
                });
        Initialization initialization = new Initialization(compute, seed).withDirections(directions);
        return AdapterSet.create(redistributed(config, ranks, rank, alpha), sites, initialization);
    }

    // Explained variance falls within a layer, so a layer's taken components are its first ones.
    private static Map<String, Integer> share(List<Offer> offers, int budget) {
        Map<String, Integer> ranks = new LinkedHashMap<>();
        offers.stream()
                .sorted(Comparator.comparingDouble((Offer offer) -> -offer.explained))
                .limit(budget)
                .forEach(offer -> ranks.merge(offer.module, 1, Integer::sum));
        return ranks;
    }

    private static AdapterConfig redistributed(
            AdapterConfig config, Map<String, Integer> ranks, int rank, double alpha) {
        Map<String, Object> fields = withoutNulls(config.fields());
        Map<String, Object> rankPattern = new LinkedHashMap<>();
        Map<String, Object> alphaPattern = new LinkedHashMap<>();
        ranks.forEach((module, own) -> {
            if (own != rank) {
                rankPattern.put(module, own);
                alphaPattern.put(module, alpha * own / rank);
            }
        });
        fields.put("target_modules", List.copyOf(ranks.keySet()));
        fields.put("rank_pattern", rankPattern);
        fields.put("alpha_pattern", alphaPattern);
        fields.put("init_lora_weights", "eva");
        return AdapterConfig.read(new ConfigFields("eva", fields));
    }

    private static Map<String, Object> withoutNulls(Map<String, @Nullable Object> fields) {
        Map<String, Object> kept = new LinkedHashMap<>();
        fields.forEach((field, value) -> {
            if (value != null) {
                kept.put(field, value);
            }
        });
        return kept;
    }
}
