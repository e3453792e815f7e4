package io.vectune.adapters;

import io.vectune.adapters.kind.BiasTuned;
import io.vectune.adapters.kind.FullWeight;
import io.vectune.adapters.kind.LnTuning;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.adapters.target.Targeting;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/// The adapters of a model: one for each target layer, by the layer's name. The map never changes; the parameters do
/// only under a trainer. Passing another set with a call is all that switching takes.
///
/// The set owns its parameters' memory; close it when no call uses it any more.
public final class AdapterSet implements AutoCloseable {
    private final @Nullable AdapterConfig config;
    // Its own configuration, or those of the sets that it combines.
    private final List<AdapterConfig> configs = new ArrayList<>();
    private final Map<String, Adapter> adapters = new LinkedHashMap<>();
    private final Map<String, LayerSite> sites = new LinkedHashMap<>();
    private final Arena arena = Arena.ofShared();

    private AdapterSet(@Nullable AdapterConfig config) {
        this.config = config;
        if (config != null) {
            configs.add(config);
        }
    }

    /// A new adapter for each target layer, initialized.
    ///
    /// @param sites the host's linear layers
    /// @throws VectuneException if a target is unknown or the configuration does not fit a layer; nothing is made then
    public static AdapterSet create(AdapterConfig config, List<LayerSite> sites, Compute compute, long seed) {
        return create(config, sites, new Initialization(compute, seed));
    }

    /// A new adapter for each target layer, initialized from data too.
    public static AdapterSet create(AdapterConfig config, List<LayerSite> sites, Initialization initialization) {
        requireTrainable(config);
        List<LayerSite> targets = config.select(sites, true);
        // EVA moves ranks between layers, within what their inputs span.
        if (initialization.directions().isEmpty()) {
            requireUsefulRanks(config, targets);
        }
        requireUsedPatterns(config, targets);
        return build(
                config,
                targets,
                sites,
                site -> StoredShapes.NONE,
                (adapter, site) -> initialize(config, adapter, site, initialization),
                initialization.compute());
    }

    /// Refuses to train an adapter whose configuration, or that of one that it combines, asks for something that only
    /// training would do and that is not supported.
    ///
    /// @throws VectuneException naming the field
    public void requireTrainable() {
        configs.forEach(AdapterSet::requireTrainable);
    }

    private static void requireTrainable(AdapterConfig config) {
        String field = config.recipe().untrainable();
        if (field != null) {
            throw new VectuneException(
                    config.recipe().kind()
                            + ": "
                            + field
                            + ": expected 0 to train, as this dropout is not drawn here; set it to 0 in the configuration"
                            + " to train without it");
        }
    }

    private static void requireUsefulRanks(AdapterConfig config, List<LayerSite> targets) {
        for (LayerSite site : targets) {
            int rank = config.recipe().rankOf(site);
            int out = site.weight().outFeatures();
            int in = site.weight().inFeatures();
            if (rank > Math.min(out, in)) {
                throw new VectuneException(
                        site.name()
                                + ": rank: expected at most "
                                + Math.min(out, in)
                                + ", the smaller side of the layer ("
                                + out
                                + ", "
                                + in
                                + "), as more adds nothing; found "
                                + rank
                                + "; lower it, or set rank_pattern for this layer");
            }
        }
    }

    // A key that no layer answers to is a slip: it would change nothing, silently.
    private static void requireUsedPatterns(AdapterConfig config, List<LayerSite> targets) {
        config.fields()
                .forEach((field, value) -> {
                    if (field.endsWith("_pattern") && value instanceof Map<?, ?> patterns) {
                        for (Object key : patterns.keySet()) {
                            String pattern = String.valueOf(key);
                            if (targets.stream().noneMatch(site -> ModulePatterns.matches(pattern, site.name()))) {
                                throw new VectuneException(
                                        field
                                                + ": "
                                                + pattern
                                                + ": expected a target layer that it matches, found none among "
                                                + targets.size()
                                                + " ("
                                                + targets.getFirst().name()
                                                + ", ...)");
                            }
                        }
                    }
                });
    }

    private static void initialize(
            AdapterConfig config, Adapter adapter, LayerSite site, Initialization initialization) {
        switch (adapter) {
            case FullWeight full -> {}
            case LnTuning norm -> {}
            case TrainableTokens tokens -> {}
            case BiasTuned tuned -> {
                Adapter inner = tuned.inner();
                if (inner != null) {
                    config.recipe().initialize(inner, site, initialization);
                }
            }
            default -> config.recipe().initialize(adapter, site, initialization);
        }
    }

    /// A set of given adapters, without a configuration of its own.
    ///
    /// @param adapters by the names of `sites`
    public static AdapterSet of(Map<String, Adapter> adapters, List<LayerSite> sites) {
        AdapterSet set = new AdapterSet(null);
        set.adapters.putAll(adapters);
        sites.forEach(site -> set.sites.put(site.name(), site));
        return set;
    }

    /// What gives an adapter its values.
    @FunctionalInterface
    public interface Filler {
        /// Fills the parameters of the layer's adapter.
        void fill(Adapter adapter, LayerSite site);
    }

    /// Adapters for these layers, filled by `filler` and then refreshed; and, where the configuration asks for them,
    /// whole layers (modules_to_save) and biases of others.
    ///
    /// @param all the host's linear layers
    /// @param shapes what a file holds for a layer
    public static AdapterSet build(
            AdapterConfig config,
            List<LayerSite> targets,
            List<LayerSite> all,
            Function<LayerSite, StoredShapes> shapes,
            Filler filler,
            Compute compute) {
        AdapterSet set = new AdapterSet(config);
        try {
            AdapterRecipe recipe = config.recipe().forLayers(targets, set.arena);
            for (LayerSite site : targets) {
                Adapter adapter = recipe.create(site, set.arena, shapes.apply(site));
                if (config.biases() != AdapterConfig.Biases.NONE && site.bias() != null) {
                    adapter = new BiasTuned(site, adapter, set.arena);
                }
                filler.fill(adapter, site);
                checkFinite(adapter, site);
                adapter.refresh(compute, site.weight());
                set.adapters.put(site.name(), adapter);
                set.sites.put(site.name(), site);
            }
            for (LayerSite site : all) {
                Adapter adapter = set.beside(config, site);
                if (adapter != null) {
                    filler.fill(adapter, site);
                    checkFinite(adapter, site);
                    set.adapters.put(site.name(), adapter);
                    set.sites.put(site.name(), site);
                }
            }
            set.checkSaved(config);
            return set;
        } catch (RuntimeException e) {
            set.close();
            throw e;
        }
    }

    // What a layer without the configured kind gets.
    private @Nullable Adapter beside(AdapterConfig config, LayerSite site) {
        if (config.targeting().isSaved(site.name())) {
            return site.part() == LayerSite.Part.NORM
                    ? new LnTuning(site, "weight", arena)
                    : new FullWeight(site, arena);
        }
        if (site.part() == LayerSite.Part.EMBEDDING || site.outputHead()) {
            for (Map.Entry<String, List<Integer>> entry : config.tokens().entrySet()) {
                if (isPart(site.name(), entry.getKey())) {
                    requireFree(site.name(), entry.getKey());
                    return new TrainableTokens(site, entry.getValue(), TrainableTokens.KEY_BESIDE, arena);
                }
            }
        }
        boolean tuned = config.biases() == AdapterConfig.Biases.ALL && site.bias() != null;
        return tuned && !adapters.containsKey(site.name()) ? new BiasTuned(site, null, arena) : null;
    }

    // Tokens would replace the adapter that the layer has.
    private void requireFree(String module, String tokens) {
        Adapter other = adapters.get(module);
        if (other != null) {
            throw new VectuneException(
                    "trainable_token_indices: "
                            + tokens
                            + ": expected a layer without another adapter, found "
                            + other.kind()
                            + " on "
                            + module
                            + "; name it there or in target_modules, not in both");
        }
    }

    private void checkSaved(AdapterConfig config) {
        for (String name : config.targeting().modulesToSave()) {
            requirePart("modules_to_save", name, module -> Targeting.isSaved(module, List.of(name)));
        }
        for (String name : config.tokens().keySet()) {
            requirePart("trainable_token_indices", name, module -> isPart(module, name));
        }
    }

    private void requirePart(String field, String name, Predicate<String> matches) {
        if (adapters.keySet().stream().noneMatch(matches)) {
            throw new VectuneException(
                    field
                            + ": "
                            + name
                            + ": expected a layer of the model, found none"
                            + NearMatches.hint(name, sites.keySet()));
        }
    }

    private static boolean isPart(String module, String name) {
        return ("." + module + ".").contains("." + name + ".");
    }

    private static void checkFinite(Adapter adapter, LayerSite site) {
        for (AdapterParameter parameter : adapter.parameters()) {
            for (int row = 0; row < parameter.values().rows(); row++) {
                for (int column = 0; column < parameter.values().columns(); column++) {
                    float value = parameter.values().get(row, column);
                    if (!Float.isFinite(value)) {
                        throw new VectuneException(
                                site.name()
                                        + ": "
                                        + parameter.name()
                                        + ": expected finite values, found "
                                        + value
                                        + " at ["
                                        + row
                                        + ", "
                                        + column
                                        + "]; the adapter is broken, make or fetch it again");
                    }
                }
            }
        }
    }

    /// One set of a composition.
    ///
    /// @param weight scales what the adapters change
    public record Weighted(AdapterSet set, float weight) {}

    /// Several sets at once: each layer gets the adapters that the sets have for it, with their weights. The members
    /// stay open and belong to the caller.
    public static AdapterSet compose(List<Weighted> members) {
        AdapterSet composed = new AdapterSet(null);
        for (Weighted member : members) {
            composed.sites.putAll(member.set.sites);
            composed.configs.addAll(member.set.configs);
        }
        for (String module : composed.sites.keySet()) {
            List<ComposedAdapter.Member> ofModule = new ArrayList<>();
            for (Weighted member : members) {
                Adapter adapter = member.set.adapter(module);
                if (adapter != null) {
                    ofModule.add(new ComposedAdapter.Member(adapter, member.weight));
                }
            }
            boolean alone = ofModule.size() == 1 && ofModule.getFirst().weight() == 1;
            composed.adapters.put(module, alone ? ofModule.getFirst().adapter() : composed(module, ofModule));
        }
        return composed;
    }

    private static Adapter composed(String module, List<ComposedAdapter.Member> members) {
        try {
            return new ComposedAdapter(members);
        } catch (IllegalArgumentException refused) {
            throw new IllegalArgumentException(module + ": " + refused.getMessage(), refused);
        }
    }

    /// A set for mixed batches: the row groups of a call name these sets by index. The members stay open and belong to
    /// the caller.
    public static AdapterSet mixed(List<AdapterSet> members) {
        AdapterSet mixed = new AdapterSet(null);
        for (AdapterSet member : members) {
            mixed.sites.putAll(member.sites);
            mixed.configs.addAll(member.configs);
        }
        mixed.sites.forEach((module, site) ->
                mixed.adapters.put(
                        module,
                        AdapterMix.of(
                                site,
                                members.stream().map(member -> Optional.ofNullable(member.adapter(module))).toList())));
        return mixed;
    }

    /// The configuration.
    ///
    /// @throws IllegalStateException for a composition or a mix, which has none of its own
    public AdapterConfig config() {
        if (config == null) {
            throw new IllegalStateException("a combination of adapters has no configuration of its own");
        }
        return config;
    }

    /// The adapters by module name, in the host's order.
    public Map<String, Adapter> adapters() {
        return Collections.unmodifiableMap(adapters);
    }

    /// The adapter of a module, or null if it has none.
    public @Nullable Adapter adapter(String module) {
        return adapters.get(module);
    }

    /// The layer of a module.
    ///
    /// @throws IllegalArgumentException if the module has no adapter
    public LayerSite site(String module) {
        LayerSite site = sites.get(module);
        if (site == null) {
            throw new IllegalArgumentException(
                    module + ": expected a module with an adapter" + NearMatches.hint(module, sites.keySet()));
        }
        return site;
    }

    /// A parameter of a layer of the set.
    ///
    /// @param module the layer's name
    /// @param gradientIndex its place among the trainable parameters of its adapter, or -1 if it is frozen
    public record Entry(String module, AdapterParameter parameter, int gradientIndex) {
        /// Module and parameter: unique in the set.
        public String name() {
            return module + "." + parameter.name();
        }
    }

    /// All parameters in the host's order.
    public List<Entry> parameters() {
        List<Entry> entries = new ArrayList<>();
        adapters.forEach((module, adapter) -> {
            int trainable = 0;
            for (AdapterParameter parameter : adapter.parameters()) {
                entries.add(new Entry(module, parameter, parameter.trainable() ? trainable++ : -1));
            }
        });
        return entries;
    }

    /// The rule that the kind of this set applies after each optimizer step, or null for kinds without one.
    ///
    /// @param modules filled with the layers whose gradients the rule wants, in its order
    public @Nullable StepRule stepRule(List<String> modules) {
        if (config == null) {
            return null;
        }
        Map<String, Adapter> own = ofTheKind(config);
        modules.addAll(own.keySet());
        return config.recipe().stepRule(List.copyOf(own.values()));
    }

    // The adapters that the recipe made, without whole layers and biases beside them.
    private Map<String, Adapter> ofTheKind(AdapterConfig known) {
        Map<String, Adapter> own = new LinkedHashMap<>();
        adapters.forEach((module, adapter) -> {
            Adapter inner = adapter instanceof BiasTuned tuned ? tuned.inner() : adapter;
            if (inner != null && inner.kind().equals(known.recipe().kind())) {
                own.put(module, inner);
            }
        });
        return own;
    }

    /// The factor of each adapter's penalty in the loss; 0 where the kind has none.
    public double penaltyFactor() {
        return config == null ? 0 : config.recipe().penaltyFactor(ofTheKind(config).size());
    }

    /// Number of trainable values.
    public long trainableElements() {
        return parameters().stream()
                .filter(entry -> entry.parameter().trainable())
                .mapToLong(entry -> (long) entry.parameter().values().rows() * entry.parameter().values().columns())
                .sum();
    }

    /// Recomputes what depends on the parameters alone, after a change of them.
    public void refresh(Compute compute) {
        adapters.forEach((module, adapter) -> adapter.refresh(compute, site(module).weight()));
    }

    /// Frees the parameters.
    @Override
    public void close() {
        arena.close();
    }
}
