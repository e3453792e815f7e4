package io.vectune.models.flux;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.Lora;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/// A LoRA of a Flux transformer whose factors an optimizer changes, and the transformer that it is trained on.
///
/// @param model widened, with the norms of the adapter
/// @param set the trained factors, over the layers of that model
/// @param norms norms that belong to the adapter; they stay as they are
public record TrainableFluxAdapter(FluxModel model, AdapterSet set, Map<String, Matrix> norms)
        implements AutoCloseable {
    /// A new adapter.
    ///
    /// @param inChannels width of the input that the data has
    /// @throws VectuneException if the configuration does not fit the transformer
    public static TrainableFluxAdapter create(
            FluxModel base, AdapterConfig config, int inChannels, Compute compute, long seed) {
        FluxModel model = base.widened(inChannels);
        AdapterSet set = AdapterSet.create(config, model.sites(), compute, seed);
        for (Map.Entry<String, Adapter> entry : set.adapters().entrySet()) {
            if (!(entry.getValue() instanceof Lora)) {
                set.close();
                throw new VectuneException(
                        entry.getKey()
                                + ": expected a lora, as diffusers stores no other adapter of a Flux transformer, found "
                                + entry.getValue().kind());
            }
        }
        return new TrainableFluxAdapter(model, set, Map.of());
    }

    /// Goes on with an adapter of a file: the same factors, one pair a layer, with the ranks and scales that it has.
    ///
    /// @param inChannels width of the input that the data has
    /// @throws VectuneException if the adapter does not fit the transformer, or reads another input than the data has
    public static TrainableFluxAdapter of(
            FluxModel base, FluxAdapter adapter, int inChannels, Compute compute, long seed) {
        if (adapter.inChannels() > inChannels) {
            throw new VectuneException(
                    adapter.name()
                            + ": "
                            + FluxModel.X_EMBEDDER
                            + ".lora_A: expected at most "
                            + inChannels
                            + " columns, as the data has channels, found "
                            + adapter.inChannels()
                            + "; add the control latents to the data");
        }
        FluxModel model = FluxAdapters.none(base).with(adapter, 1).model().widened(inChannels);
        List<LayerSite> sites =
                model.sites().stream().filter(site -> adapter.updates().containsKey(site.name())).toList();
        AdapterSet set = AdapterSet.create(config(adapter), sites, compute, seed);
        adapter.updates()
                .forEach((module, update) -> {
                    if (set.adapter(module) instanceof Lora lora) {
                        copy(update, lora);
                    }
                });
        set.refresh(compute);
        return new TrainableFluxAdapter(model, set, adapter.norms());
    }

    private static void copy(LowRankUpdate update, Lora lora) {
        lora.loraA().fill(0);
        lora.loraA().columns(0, update.a().columns()).copyFrom(update.a());
        lora.loraB().copyFrom(update.b());
        for (AdapterParameter parameter : lora.parameters()) {
            if (parameter.role() == AdapterParameter.Role.BIAS) {
                parameter.values().fill(0);
                Matrix bias = update.bias();
                if (bias != null && lora.scaling() != 0) {
                    for (int o = 0; o < bias.columns(); o++) {
                        parameter.values().set(0, o, bias.get(0, o) / lora.scaling());
                    }
                }
            }
        }
    }

    /// The configuration that gives each layer the rank and the scale of its update.
    private static AdapterConfig config(FluxAdapter adapter) {
        Map<String, Object> ranks = new LinkedHashMap<>();
        Map<String, Object> alphas = new LinkedHashMap<>();
        LowRankUpdate first = adapter.updates().values().iterator().next();
        double firstAlpha = (double) first.scale() * first.rank();
        adapter.updates()
                .forEach((module, update) -> {
                    // Anchored: proj_out is a layer of its own and the end of another's name.
                    String pattern = "^" + literal(module);
                    double alpha = (double) update.scale() * update.rank();
                    if (update.rank() != first.rank()) {
                        ranks.put(pattern, update.rank());
                    }
                    if (alpha != firstAlpha) {
                        alphas.put(pattern, alpha);
                    }
                });
        String names =
                adapter.updates().keySet().stream().map(TrainableFluxAdapter::literal).collect(Collectors.joining("|"));
        boolean biased = adapter.updates().values().stream().anyMatch(update -> update.bias() != null);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("r", first.rank());
        fields.put("lora_alpha", firstAlpha);
        fields.put("rank_pattern", ranks);
        fields.put("alpha_pattern", alphas);
        fields.put("lora_bias", biased);
        fields.put("target_modules", names);
        return AdapterConfig.of("lora", fields);
    }

    /// A regular expression, for Java and for Python, that matches a module's name alone.
    private static String literal(String module) {
        return module.replace(".", "\\.");
    }

    @Override
    public void close() {
        set.close();
    }
}
