package io.vectune.adapters.file;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A LoRA in one safetensors file, with the key styles of the diffusion world.
///
/// | style | A | B | scale | module |
/// |---|---|---|---|---|
/// | diffusers | M.lora_A.weight | M.lora_B.weight | M.alpha, if any | after transformer., unet., text_encoder. |
/// | older diffusers | M.lora.down.weight, M.lora_linear_layer.down.weight | ..up.weight | M.alpha | the same |
/// | kohya | K.lora_down.weight | K.lora_up.weight | K.alpha | lora_unet_, lora_te_ and the path with _ for . |
/// | FSDP-QDoRA | M.dora_layer.lora_A.weight | M.dora_layer.lora_B.weight | - | the same |
///
/// kohya's `dora_scale` and FSDP-QDoRA's `magnitude_layer.magnitude` are DoRA's magnitude. Without alpha the scaling is
/// 1. FSDP-QDoRA is read only.
public final class LoraFile {
    /// How keys are written.
    public enum Style {
        /// `transformer.<module>.lora_A.weight`
        DIFFUSERS,
        /// `lora_unet_<module>.lora_down.weight`
        KOHYA
    }

    // What follows the module, and PEFT's name for it.
    private static final Map<String, String> SUFFIXES = suffixes();

    private static Map<String, String> suffixes() {
        Map<String, String> suffixes = new LinkedHashMap<>();
        suffixes.put(".dora_layer.lora_A.weight", "lora_A.weight");
        suffixes.put(".dora_layer.lora_B.weight", "lora_B.weight");
        suffixes.put(".magnitude_layer.magnitude", "lora_magnitude_vector");
        suffixes.put(".lora_A.weight", "lora_A.weight");
        suffixes.put(".lora_B.weight", "lora_B.weight");
        suffixes.put(".lora.down.weight", "lora_A.weight");
        suffixes.put(".lora.up.weight", "lora_B.weight");
        suffixes.put(".lora_linear_layer.down.weight", "lora_A.weight");
        suffixes.put(".lora_linear_layer.up.weight", "lora_B.weight");
        suffixes.put(".lora_down.weight", "lora_A.weight");
        suffixes.put(".lora_up.weight", "lora_B.weight");
        suffixes.put(".dora_scale", "lora_magnitude_vector");
        suffixes.put(".lora_magnitude_vector", "lora_magnitude_vector");
        suffixes.put(".alpha", "alpha");
        return suffixes;
    }

    private LoraFile() {}

    /// Reads a file for a host; every tensor must find its layer.
    ///
    /// @throws VectuneException if the file is malformed or does not fit the host
    public static AdapterSet read(Path path, List<LayerSite> sites, Compute compute) {
        try (Arena arena = Arena.ofShared()) {
            return stored(path, LayerNames.of(sites), arena).fill(sites, compute);
        }
    }

    /// Reads a file.
    ///
    /// @param names finds the layers that keys mean
    /// @param arena the tensors' memory
    static StoredAdapter stored(Path path, LayerNames names, Arena arena) {
        SafetensorsFile file = SafetensorsFile.open(path, arena);
        Map<String, Map<String, Tensor>> modules = new LinkedHashMap<>();
        Map<String, Double> alphas = new LinkedHashMap<>();
        Map<String, Integer> ranks = new LinkedHashMap<>();
        boolean dora = false;
        for (String name : file.names()) {
            String suffix = suffixOf(path, name);
            String key = SUFFIXES.getOrDefault(suffix, "");
            String module = names.layer(path, name.substring(0, name.length() - suffix.length()));
            Tensor tensor = file.tensor(name);
            if (key.equals("alpha")) {
                alphas.put(module, (double) tensor.getFloat(0));
                continue;
            }
            if (key.equals("lora_magnitude_vector")) {
                tensor = tensor.reshape(tensor.elements());
                dora = true;
            }
            if (key.equals("lora_A.weight") && tensor.axes() > 0) {
                ranks.put(module, Math.toIntExact(tensor.size(0)));
            }
            if (modules.computeIfAbsent(module, fresh -> new LinkedHashMap<>()).put(key, tensor) != null) {
                throw new FileFormatException(path + ": two tensors for " + key + " of " + module + ": " + name);
            }
        }
        for (String module : alphas.keySet()) {
            if (!ranks.containsKey(module)) {
                throw new FileFormatException(path + ": " + module + ": has an alpha, but no lora_A");
            }
        }
        ranks.forEach((module, rank) -> alphas.putIfAbsent(module, (double) rank));
        return new StoredAdapter(path.toString(), config(path, dora, ranks, alphas), modules);
    }

    private static AdapterConfig config(
            Path path, boolean dora, Map<String, Integer> ranks, Map<String, Double> alphas) {
        if (ranks.isEmpty()) {
            throw new FileFormatException(path + ": expected the tensors of a LoRA, found none");
        }
        int rank = ranks.values().iterator().next();
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("peft_type", "LORA");
        fields.put("r", rank);
        fields.put("lora_alpha", rank);
        fields.put("use_dora", dora);
        fields.put("target_modules", List.copyOf(ranks.keySet()));
        Map<String, Object> rankPattern = new LinkedHashMap<>();
        ranks.forEach((module, own) -> {
            if (own != rank) {
                rankPattern.put(module, own);
            }
        });
        Map<String, Object> alphaPattern = new LinkedHashMap<>();
        alphas.forEach((module, alpha) -> {
            if (alpha != rank) {
                alphaPattern.put(module, alpha);
            }
        });
        fields.put("rank_pattern", rankPattern);
        fields.put("alpha_pattern", alphaPattern);
        return AdapterConfig.read(new ConfigFields(path.toString(), fields));
    }

    private static String suffixOf(Path path, String name) {
        for (String suffix : SUFFIXES.keySet()) {
            if (name.endsWith(suffix)) {
                return suffix;
            }
        }
        throw new FileFormatException(
                path
                        + ": "
                        + name
                        + ": expected a key of a LoRA that ends with one of "
                        + String.join(", ", SUFFIXES.keySet()));
    }

    /// Writes a LoRA or a DoRA.
    ///
    /// @throws VectuneException if the adapters are of another kind; export them as LoRA first
    public static void write(AdapterSet set, Path path, Style style) {
        try (Arena arena = Arena.ofShared()) {
            write(StoredAdapter.of(set, arena), path, style);
        }
    }

    static void write(StoredAdapter adapter, Path path, Style style) {
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        try (Arena arena = Arena.ofShared()) {
            adapter.modules()
                    .forEach((module, own) -> {
                        if (!List.of("lora", "dora").contains(adapter.kind())) {
                            throw new VectuneException(
                                    module
                                            + ": this format holds LoRA and DoRA, found "
                                            + adapter.kind()
                                            + "; export it as a LoRA first");
                        }
                        own.forEach((stored, tensor) -> {
                            String key = keyOf(stored, style);
                            if (key == null) {
                                throw new VectuneException(module + ": this format cannot hold " + stored);
                            }
                            tensors.put(moduleKey(module, style) + key, tensor);
                        });
                        long rank = adapter.tensor(module, "lora_A.weight").size(0);
                        Tensor alpha = Tensor.allocate(arena, DType.F32);
                        alpha.setFloat(0, (float) adapter.scaling(module) * rank);
                        tensors.put(moduleKey(module, style) + ".alpha", alpha);
                    });
            SafetensorsWriter.write(path, tensors, Map.of("format", "pt"));
        }
    }

    private static String moduleKey(String module, Style style) {
        return style == Style.KOHYA ? "lora_unet_" + module.replace('.', '_') : "transformer." + module;
    }

    private static @Nullable String keyOf(String stored, Style style) {
        return switch (stored) {
            case "lora_A.weight" -> style == Style.KOHYA ? ".lora_down.weight" : ".lora_A.weight";
            case "lora_B.weight" -> style == Style.KOHYA ? ".lora_up.weight" : ".lora_B.weight";
            case "lora_magnitude_vector" -> style == Style.KOHYA ? ".dora_scale" : ".lora_magnitude_vector";
            default -> null;
        };
    }

    /// The modules that a file adapts, without a host: what `info` shows.
    public static List<String> modules(Path path) {
        try (Arena arena = Arena.ofConfined()) {
            List<String> modules = new ArrayList<>();
            for (String name : SafetensorsFile.open(path, arena).names()) {
                String suffix = suffixOf(path, name);
                if ("lora_A.weight".equals(SUFFIXES.get(suffix))) {
                    modules.add(name.substring(0, name.length() - suffix.length()));
                }
            }
            return modules;
        }
    }
}
