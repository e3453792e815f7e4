package io.vectune.cli;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.LayerSite;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/// The options of a new adapter. What is not given has PEFT's default.
final class AdapterOptions {
    private static final JsonMapper MAPPER = JsonMapper.builder().build();

    @Option(names = "--rank", paramLabel = "R", description = "Rank (default: that of the kind).")
    private @Nullable Integer rank;

    @Option(
            names = "--alpha",
            paramLabel = "A",
            description = "Alpha: the scaling is A / R (default: that of the kind).")
    private @Nullable Double alpha;

    @Option(names = "--dropout", paramLabel = "P", description = "Dropout of the adapter (default: 0).")
    private @Nullable Double dropout;

    @Option(
            names = "--targets",
            split = ",",
            paramLabel = "NAME",
            description = "Layers to adapt: q_proj,v_proj or all-linear (default: that of the kind).")
    private @Nullable List<String> targets;

    @Option(
            names = "--set",
            paramLabel = "FIELD=VALUE",
            description = "Another field of PEFT's adapter_config.json: use_rslora=true, init_lora_weights=pissa, ...")
    private Map<String, String> fields = new LinkedHashMap<>();

    /// The configuration of a new adapter.
    ///
    /// @param steps of the run: AdaLoRA's ranks follow a schedule over them
    AdapterConfig config(String kind, Path model, int steps) {
        return config(kind, model, steps, Map.of());
    }

    /// The configuration of a new adapter whose model has defaults of its own.
    AdapterConfig config(String kind, Path model, int steps, Map<String, Object> defaults) {
        Map<String, Object> options = new LinkedHashMap<>(defaults);
        if (rank != null) {
            if (rank < 1) {
                throw new UsageException("--rank: expected at least 1, found " + rank);
            }
            if (kind.equalsIgnoreCase("adalora")) {
                // The rank that is left at the end; the start has half as much again, as PEFT's defaults have.
                options.put("target_r", rank);
                options.put("init_r", (3 * rank + 1) / 2);
            } else {
                options.put("r", rank);
            }
        }
        if (alpha != null) {
            options.put(alphaField(kind), alpha);
        }
        if (dropout != null) {
            options.put(dropoutField(kind), dropout);
        }
        List<String> names = targets;
        if (names != null) {
            boolean single = names.size() == 1 && names.getFirst().equals("all-linear");
            options.put("target_modules", single ? "all-linear" : names);
        }
        fields.forEach((field, text) -> options.put(field, value(text)));
        if (kind.equalsIgnoreCase("adalora")) {
            options.putIfAbsent("total_step", steps);
        }
        options.put("base_model_name_or_path", model.toString());
        return AdapterConfig.of(kind, options);
    }

    /// Refuses a rank whose factors alone are larger than the machine's memory, before any is allocated.
    ///
    /// @param sites the layers that get an adapter
    void requireMemory(List<LayerSite> sites) {
        Integer asked = rank;
        if (asked == null) {
            return;
        }
        long narrow = 0;
        for (LayerSite site : sites) {
            narrow += Math.min(site.weight().inFeatures(), site.weight().outFeatures());
        }
        double bytes = (double) Float.BYTES * asked * narrow;
        if (bytes > PhysicalMemory.bytes()) {
            throw new UsageException(
                    String.format(
                            Locale.ROOT,
                            "--rank: expected an adapter that fits into memory (%s), found %,d: at least %s on %d"
                                    + " layers; choose a smaller rank",
                            Progress.bytes(PhysicalMemory.bytes()),
                            asked,
                            Progress.bytes((long) bytes),
                            sites.size()));
        }
    }

    private static String alphaField(String kind) {
        return switch (kind.toLowerCase(Locale.ROOT)) {
            case "loha", "lokr", "gralora" -> "alpha";
            default -> "lora_alpha";
        };
    }

    private static String dropoutField(String kind) {
        return switch (kind.toLowerCase(Locale.ROOT)) {
            case "vera" -> "vera_dropout";
            case "miss" -> "miss_dropout";
            case "gralora" -> "gralora_dropout";
            case "delora" -> "module_dropout";
            default -> "lora_dropout";
        };
    }

    /// A JSON value where the text is one, else the text itself.
    private static Object value(String text) {
        try {
            Object value = MAPPER.readValue(text, Object.class);
            return value == null ? text : value;
        } catch (JacksonException plainText) {
            return text;
        }
    }

    /// Refuses all of these options.
    void requireNone(String because) {
        if (rank != null || alpha != null || dropout != null || targets != null || !fields.isEmpty()) {
            throw new UsageException(
                    "--rank, --alpha, --dropout, --targets and --set describe a new adapter; with "
                            + because
                            + " the configuration is that of the adapter");
        }
    }
}
