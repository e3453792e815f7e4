package io.vectune.adapters.target;

import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Which layers of a host get an adapter, with PEFT's meaning of the fields.
///
/// - a list of names: a module whose path is the name or ends with `.name`;
/// - one text: a regular expression that matches the whole path;
/// - `all-linear`: all linear layers but the output head;
/// - `exclude_modules` wins over them, and so does `modules_to_save`;
/// - `layers_to_transform` keeps the layers with these indices (only with a list), the index being the first number in
///   the path, or the one after a name of `layers_pattern`.
///
/// @param targets names, or one regular expression, or `all-linear`
/// @param regex whether `targets` is one regular expression
/// @param excluded names, or one regular expression
/// @param excludedRegex whether `excluded` is one regular expression
/// @param layers indices, empty for all layers
/// @param layersPatterns names before the index
/// @param modulesToSave modules that are trained whole and get no adapter
public record Targeting(
        List<String> targets,
        boolean regex,
        List<String> excluded,
        boolean excludedRegex,
        Set<Integer> layers,
        List<String> layersPatterns,
        List<String> modulesToSave) {
    /// The text that means all linear layers but the output head.
    public static final String ALL_LINEAR = "all-linear";

    private static final Pattern FIRST_INDEX = Pattern.compile(".*?\\.[^.]*\\.(?<idx>\\d+)\\..*");

    public Targeting {
        targets = List.copyOf(targets);
        excluded = List.copyOf(excluded);
        layers = Set.copyOf(layers);
        layersPatterns = List.copyOf(layersPatterns);
        modulesToSave = List.copyOf(modulesToSave);
    }

    /// Reads the fields of a configuration.
    ///
    /// @param defaults the targets where the configuration names none
    public static Targeting read(ConfigFields fields, List<String> defaults) {
        Object target = fields.raw("target_modules");
        boolean regex = target instanceof String text && !text.equalsIgnoreCase(ALL_LINEAR);
        List<String> names = target == null ? defaults : fields.names("target_modules");
        Object exclude = fields.raw("exclude_modules");
        Set<Integer> layers = layers(fields);
        List<String> patterns = fields.names("layers_pattern");
        if (target instanceof String && !layers.isEmpty()) {
            throw fields.wrong("layers_to_transform", "nothing with target_modules given as one text", layers);
        }
        if (!patterns.isEmpty() && layers.isEmpty()) {
            throw fields.wrong("layers_pattern", "layers_to_transform beside it", patterns);
        }
        return new Targeting(
                names,
                regex,
                fields.names("exclude_modules"),
                exclude instanceof String,
                layers,
                patterns,
                fields.names("modules_to_save"));
    }

    private static Set<Integer> layers(ConfigFields fields) {
        Object value = fields.raw("layers_to_transform");
        Set<Integer> layers = new LinkedHashSet<>();
        switch (value) {
            case null -> {}
            case Number index -> layers.add(index.intValue());
            case List<?> list when list.stream().allMatch(Number.class::isInstance) ->
                    list.forEach(index -> layers.add(((Number) index).intValue()));
            default -> throw fields.wrong("layers_to_transform", "a layer index or a list of them", value);
        }
        return layers;
    }

    /// The fields as PEFT reads them, without those that choose nothing.
    public Map<String, Object> fields() {
        Map<String, Object> fields = new LinkedHashMap<>();
        boolean text = regex || isAllLinear();
        fields.put("target_modules", text ? targets.getFirst() : targets);
        if (!excluded.isEmpty()) {
            fields.put("exclude_modules", excludedRegex ? excluded.getFirst() : excluded);
        }
        if (!layers.isEmpty()) {
            fields.put("layers_to_transform", layers.stream().sorted().toList());
        }
        if (!layersPatterns.isEmpty()) {
            fields.put("layers_pattern", layersPatterns);
        }
        if (!modulesToSave.isEmpty()) {
            fields.put("modules_to_save", modulesToSave);
        }
        return fields;
    }

    private boolean isAllLinear() {
        return !regex && targets.size() == 1 && targets.getFirst().toLowerCase(Locale.ROOT).equals(ALL_LINEAR);
    }

    /// The layers that get an adapter, in the host's order.
    ///
    /// @param strict whether each name must match a layer; PEFT asks only that one of them does
    /// @throws VectuneException if nothing matches, or a name matches nothing; near matches are offered
    public List<LayerSite> select(List<LayerSite> sites, boolean strict) {
        List<LayerSite> selected = new ArrayList<>();
        for (LayerSite site : sites) {
            if (isTarget(site)) {
                selected.add(site);
            }
        }
        if (strict && !regex && !isAllLinear()) {
            for (String name : targets) {
                if (sites.stream().noneMatch(site -> endsWith(site.name(), name))) {
                    throw unknown(name, sites);
                }
            }
        }
        if (selected.isEmpty()) {
            throw unknown(String.join(", ", targets), sites);
        }
        return selected;
    }

    private VectuneException unknown(String name, List<LayerSite> sites) {
        Set<String> tails = new LinkedHashSet<>();
        sites.forEach(site -> tails.add(site.name().substring(site.name().lastIndexOf('.') + 1)));
        return new VectuneException(
                "target_modules: "
                        + name
                        + (regex ? " (a regular expression over whole paths)" : "")
                        + ": expected layers of the model ("
                        + String.join(", ", tails)
                        + "), found none"
                        + (excluded.isEmpty() && layers.isEmpty()
                                ? ""
                                : " after exclude_modules and layers_to_transform")
                        + NearMatches.hint(name, tails));
    }

    /// Whether that layer gets an adapter.
    public boolean isTarget(LayerSite site) {
        String module = site.name();
        if (excludedRegex
                ? ModulePatterns.python(excluded.getFirst()).matcher(module).matches()
                : excluded.stream().anyMatch(name -> endsWith(module, name))) {
            return false;
        }
        if (isSaved(module)) {
            return false;
        }
        if (isAllLinear()) {
            return !site.outputHead();
        }
        if (regex) {
            return ModulePatterns.python(targets.getFirst()).matcher(module).matches();
        }
        if (targets.contains(module)) {
            return true;
        }
        return targets.stream().anyMatch(name -> endsWith(module, name)) && isInLayers(module);
    }

    /// Whether `modules_to_save` names that module or one that contains it. As in PEFT a path matches when it ends with
    /// the name, wherever the name begins: `norm` also saves `q_norm`.
    public boolean isSaved(String module) {
        return isSaved(module, modulesToSave);
    }

    /// The same for other names.
    public static boolean isSaved(String module, List<String> names) {
        for (int end = module.length(); end > 0; end = module.lastIndexOf('.', end - 1)) {
            String path = module.substring(0, end);
            if (names.stream().anyMatch(path::endsWith)) {
                return true;
            }
        }
        return false;
    }

    private boolean isInLayers(String module) {
        if (layers.isEmpty()) {
            return true;
        }
        if (layersPatterns.isEmpty()) {
            return hasLayer(FIRST_INDEX.matcher(module));
        }
        for (String pattern : layersPatterns) {
            Matcher matcher =
                    ModulePatterns.python("(?:^|.*?\\.)(?:" + pattern + ")\\.(?<idx>\\d+)\\..*").matcher(module);
            if (matcher.matches()) {
                return layers.contains(Integer.parseInt(matcher.group("idx")));
            }
        }
        return false;
    }

    private boolean hasLayer(Matcher matcher) {
        return matcher.matches() && layers.contains(Integer.parseInt(matcher.group("idx")));
    }

    private static boolean endsWith(String module, String name) {
        return module.equals(name) || module.endsWith("." + name);
    }
}
