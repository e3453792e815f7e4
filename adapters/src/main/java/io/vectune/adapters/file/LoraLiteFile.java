package io.vectune.adapters.file;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// An adapter as lora-lite stores it: one safetensors file, keys `<module>.lora_<parameter>`, the configuration as JSON
/// under `cfg` in the metadata.
///
/// The variants map to kinds as follows; a file holds the adapter of every module it names, so targets are those.
///
/// | lora-lite | here | parameters |
/// |---|---|---|
/// | lora, eva | lora | lora_A, lora_B |
/// | dora | dora | lora_A, lora_B, lora_m |
/// | pissa | pissa | lora_A, lora_B; the base that lora-lite changed is taken as it was |
/// | delora | delora | lora_A, lora_B, lora_lambda (a scalar), lora_wnorm |
/// | hra | hra | lora_U (rows) |
/// | ia3, ia3_ff | ia3 | lora_g |
/// | road | road | lora_road_theta, lora_road_alpha |
/// | antipasto | antipasto | lora_U, lora_S, lora_Vh, lora_delta_s, lora_rot_T |
///
/// Source wassname/lora-lite src/lora_lite/adapter.py, config.py
public final class LoraLiteFile {
    private static final List<String> KINDS =
            List.of("lora", "dora", "pissa", "delora", "hra", "ia3", "road", "antipasto");

    private LoraLiteFile() {}

    /// Whether a file's metadata is that of lora-lite.
    public static boolean isOne(Path file) {
        try (Arena arena = Arena.ofConfined()) {
            return SafetensorsFile.open(file, arena).metadata().containsKey("cfg");
        }
    }

    /// Reads an adapter for a host.
    ///
    /// @throws VectuneException if the file is malformed, of an unknown variant, or does not fit the host
    public static AdapterSet read(Path path, List<LayerSite> sites, Compute compute) {
        try (Arena arena = Arena.ofShared()) {
            return stored(path, arena).fill(sites, compute);
        }
    }

    /// Reads a file.
    ///
    /// @param arena the tensors' memory
    static StoredAdapter stored(Path path, Arena arena) {
        SafetensorsFile file = SafetensorsFile.open(path, arena);
        String json = file.metadata().get("cfg");
        if (json == null) {
            throw new FileFormatException(
                    path + ": expected the metadata entry cfg of a lora-lite adapter, found none");
        }
        Map<String, Object> cfg = JsonFields.of(StrictJson.parseObject(json, path + ": metadata cfg"));
        String variant = String.valueOf(cfg.get("variant"));
        Map<String, String> keys = keys(variant, path);
        Map<String, Map<String, Tensor>> modules = new LinkedHashMap<>();
        for (String name : file.names()) {
            int dot = name.lastIndexOf('.');
            String key = keys.get(name.substring(dot + 1));
            if (dot < 0 || key == null) {
                throw new FileFormatException(
                        path
                                + ": expected keys <module>."
                                + String.join(" or ", keys.keySet())
                                + " for the variant "
                                + variant
                                + ", found "
                                + name);
            }
            modules.computeIfAbsent(name.substring(0, dot), fresh -> new LinkedHashMap<>())
                    .put(key, inPeftForm(variant, key, file.tensor(name), arena));
        }
        Map<String, Object> fields = fields(variant, cfg, modules.keySet(), path);
        AdapterConfig config = AdapterConfig.read(new ConfigFields(path.toString(), fields));
        return new StoredAdapter(path.toString(), config, modules);
    }

    /// PEFT's keys of a layer's tensors, for the kinds that lora-lite has; empty for others.
    static Set<String> keysOf(String kind) {
        return KINDS.contains(kind) ? new LinkedHashSet<>(keys(kind, Path.of("")).values()) : Set.of();
    }

    // lora-lite's parameter to PEFT's key.
    private static Map<String, String> keys(String variant, Path path) {
        Map<String, String> keys = new LinkedHashMap<>();
        switch (variant) {
            case "lora", "eva", "pissa", "dora" -> {
                keys.put("lora_A", "lora_A.weight");
                keys.put("lora_B", "lora_B.weight");
                if (variant.equals("dora")) {
                    keys.put("lora_m", "lora_magnitude_vector");
                }
            }
            case "delora" -> {
                keys.put("lora_A", "delora_A");
                keys.put("lora_B", "delora_B");
                keys.put("lora_lambda", "delora_lambda");
                keys.put("lora_wnorm", "delora_w_norm");
            }
            case "hra" -> keys.put("lora_U", "hra_u");
            case "ia3", "ia3_ff" -> keys.put("lora_g", "ia3_l");
            case "road" -> {
                keys.put("lora_road_theta", "road_theta");
                keys.put("lora_road_alpha", "road_alpha");
            }
            case "antipasto" -> {
                for (String name : List.of("U", "S", "Vh", "delta_s", "rot_T")) {
                    keys.put("lora_" + name, "antipasto_" + name);
                }
            }
            default ->
                    throw new FileFormatException(
                            path
                                    + ": metadata cfg: variant: expected lora, eva, dora, pissa, delora, hra, ia3, ia3_ff,"
                                    + " road or antipasto, found "
                                    + variant);
        }
        return keys;
    }

    private static Tensor inPeftForm(String variant, String key, Tensor tensor, Arena arena) {
        return switch (key) {
            case "delora_lambda" -> tensor.reshape(1);
            case "ia3_l" ->
                    variant.equals("ia3_ff")
                            ? tensor.reshape(1, tensor.elements())
                            : tensor.reshape(tensor.elements(), 1);
            case "hra_u" -> transposed(tensor, arena);
            default -> tensor;
        };
    }

    private static Tensor transposed(Tensor tensor, Arena arena) {
        if (tensor.axes() != 2) {
            return tensor;
        }
        long rows = tensor.size(0);
        long columns = tensor.size(1);
        Tensor result = Tensor.allocate(arena, DType.F32, columns, rows);
        for (long row = 0; row < rows; row++) {
            for (long column = 0; column < columns; column++) {
                result.setFloat(column * rows + row, tensor.getFloat(row * columns + column));
            }
        }
        return result;
    }

    private static Map<String, Object> fields(String variant, Map<String, Object> cfg, Set<String> modules, Path path) {
        Map<String, Object> fields = new LinkedHashMap<>();
        Object rank = cfg.getOrDefault("r", 8);
        fields.put("target_modules", List.copyOf(modules));
        switch (variant) {
            case "lora", "eva", "dora", "pissa" -> {
                fields.put("peft_type", "LORA");
                fields.put("r", rank);
                fields.put("lora_alpha", cfg.getOrDefault("alpha", 16));
                fields.put("use_dora", variant.equals("dora"));
                fields.put("init_lora_weights", variant.equals("pissa") ? "pissa" : (Object) true);
            }
            case "delora" -> {
                fields.put("peft_type", "DELORA");
                fields.put("r", rank);
                fields.put("delora_lambda", cfg.getOrDefault("lambda0", 15));
            }
            case "hra" -> {
                fields.put("peft_type", "HRA");
                fields.put("r", rank);
            }
            case "ia3", "ia3_ff" -> {
                fields.put("peft_type", "IA3");
                fields.put("feedforward_modules", variant.equals("ia3") ? List.of() : List.copyOf(modules));
            }
            case "road" -> {
                fields.put("peft_type", "ROAD");
                fields.put("variant", cfg.getOrDefault("road_variant", "road_1"));
                fields.put("group_size", cfg.getOrDefault("group_size", 64));
            }
            case "antipasto" -> {
                fields.put("peft_type", "ANTIPASTO");
                fields.put("r", rank);
                for (String name : List.of("block_size", "max_rotation_angle", "rotate_basis")) {
                    Object value = cfg.get(name);
                    if (value != null) {
                        fields.put(name, value);
                    }
                }
            }
            default -> throw new FileFormatException(path + ": unknown variant " + variant);
        }
        return fields;
    }

    /// Writes an adapter so that lora-lite loads it.
    ///
    /// @throws VectuneException if lora-lite has no such variant, or cannot express the configuration
    public static void write(AdapterSet set, Path path) {
        try (Arena arena = Arena.ofShared()) {
            write(StoredAdapter.of(set, arena), path);
        }
    }

    static void write(StoredAdapter adapter, Path path) {
        Map<String, @Nullable Object> fields = adapter.config().fields();
        String variant = variantOf(adapter);
        refuse(fields, variant);
        Map<String, String> ours = new LinkedHashMap<>();
        keys(variant, path).forEach((theirs, key) -> ours.put(key, theirs));
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        try (Arena arena = Arena.ofShared()) {
            adapter.modules()
                    .forEach((module, own) ->
                            own.forEach((stored, tensor) -> {
                                String key = ours.get(stored);
                                if (key == null) {
                                    throw new VectuneException(
                                            module
                                                    + ": lora-lite's variant "
                                                    + variant
                                                    + " cannot hold "
                                                    + stored
                                                    + "; write a PEFT directory instead");
                                }
                                tensors.put(module + "." + key, inTheirForm(stored, tensor, arena));
                            }));
            String cfg = JsonFields.node(cfg(adapter.modules().keySet(), variant, fields)).toString();
            SafetensorsWriter.write(path, tensors, Map.of("cfg", cfg));
        }
    }

    private static Tensor inTheirForm(String key, Tensor tensor, Arena arena) {
        return switch (key) {
            case "delora_lambda" -> tensor.reshape();
            case "ia3_l" -> tensor.reshape(tensor.elements());
            case "hra_u" -> transposed(tensor, arena);
            default -> tensor;
        };
    }

    private static String variantOf(StoredAdapter adapter) {
        String kind = adapter.kind();
        if (!KINDS.contains(kind)) {
            throw new VectuneException(
                    "lora-lite has no variant for adapters of the kind " + kind + "; write a PEFT directory instead");
        }
        if (!kind.equals("ia3")) {
            return kind;
        }
        Set<String> gates = new LinkedHashSet<>();
        for (String module : adapter.modules().keySet()) {
            Tensor gate = adapter.tensor(module, "ia3_l");
            gates.add(gate.axes() == 2 && gate.size(1) == 1 ? "ia3" : "ia3_ff");
        }
        if (gates.size() > 1) {
            throw new VectuneException(
                    "a lora-lite file holds output gates or input gates, not both; write a PEFT directory instead");
        }
        return gates.iterator().next();
    }

    private static void refuse(Map<String, @Nullable Object> fields, String variant) {
        ConfigFields all = new ConfigFields("lora-lite", withoutNulls(fields));
        for (String field :
                List.of("use_rslora", "lora_bias", "rank_pattern", "alpha_pattern", "lambda_pattern", "apply_GS")) {
            if (all.isSet(field)) {
                throw new VectuneException(
                        "lora-lite's variant "
                                + variant
                                + " cannot express "
                                + field
                                + " = "
                                + fields.get(field)
                                + "; write a PEFT directory instead");
            }
        }
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

    private static Map<String, @Nullable Object> cfg(
            Set<String> modules, String variant, Map<String, @Nullable Object> fields) {
        Map<String, @Nullable Object> cfg = new LinkedHashMap<>();
        cfg.put("variant", variant);
        cfg.put("r", fields.getOrDefault("r", 8));
        cfg.put("alpha", fields.getOrDefault("lora_alpha", 16.0));
        cfg.put("dtype", "float32");
        cfg.put("target_roles", List.of());
        List<String> names = new ArrayList<>();
        modules.forEach(module -> names.add("^" + module.replace(".", "\\.") + "$"));
        cfg.put("target_names", names);
        cfg.put("exclude_names", List.of());
        cfg.put("layers", null);
        switch (variant) {
            case "delora" -> cfg.put("lambda0", fields.get("delora_lambda"));
            case "road" -> {
                cfg.put("road_variant", fields.get("variant"));
                cfg.put("group_size", fields.get("group_size"));
            }
            case "antipasto" -> {
                for (String name : List.of("block_size", "max_rotation_angle", "rotate_basis")) {
                    cfg.put(name, fields.get(name));
                }
            }
            default -> {}
        }
        return cfg;
    }
}
