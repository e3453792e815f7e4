package io.vectune.adapters.file;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// An adapter as files hold it, before a host gives it layers: what all formats are read to and written from.
///
/// @param origin the file, for messages
/// @param modules by the layer's name: its tensors, by PEFT's keys and in PEFT's shapes
record StoredAdapter(String origin, AdapterConfig config, Map<String, Map<String, Tensor>> modules) {
    /// What stands before a module's name in PEFT's files.
    static final String PREFIX = "base_model.model.";

    private static final String LORA_A = "lora_A.weight";
    private static final String LORA_B = "lora_B.weight";
    private static final String MAGNITUDE = "lora_magnitude_vector";

    /// The parameters of a set, copied.
    static StoredAdapter of(AdapterSet set, Arena arena) {
        Map<String, Map<String, Tensor>> modules = new LinkedHashMap<>();
        set.adapters()
                .forEach((module, adapter) -> {
                    Map<String, Tensor> tensors = new LinkedHashMap<>();
                    for (AdapterParameter parameter : adapter.parameters()) {
                        AdapterParameter.Stored stored = parameter.stored();
                        if (stored != null) {
                            tensors.put(stored.key(), TensorFill.write(parameter, stored, arena));
                        }
                    }
                    modules.put(module, tensors);
                });
        return new StoredAdapter("the adapter", set.config(), modules);
    }

    /// The kind of the configuration.
    String kind() {
        return config.recipe().kind();
    }

    /// The adapter for a host.
    ///
    /// @throws VectuneException if tensors are missing, left over or of other shapes than the host's layers ask for
    AdapterSet fill(List<LayerSite> sites, Compute compute) {
        return PeftDirectory.fill(config, new RenamedTensors(origin, tensors()), PREFIX, sites, compute);
    }

    /// All tensors under the names that PEFT gives them.
    Map<String, Tensor> tensors() {
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        modules.forEach((module, own) ->
                own.forEach((key, tensor) ->
                        tensors.put(
                                key.startsWith(AdapterParameter.Stored.SHARED) ? key : PREFIX + module + "." + key,
                                tensor)));
        return tensors;
    }

    /// The factor of the low-rank product in a layer, as the configuration and the rank of its tensors give it.
    double scaling(String module) {
        Tensor a = tensor(module, LORA_A);
        return config.recipe().scaling(module, Math.toIntExact(a.axes() == 0 ? 1 : a.size(0)));
    }

    /// A tensor that a layer must have.
    Tensor tensor(String module, String key) {
        Tensor tensor = modules.getOrDefault(module, Map.of()).get(key);
        if (tensor == null) {
            throw new FileFormatException(origin + ": " + module + ": expected the tensor " + key + ", found none");
        }
        return tensor;
    }

    /// The same with f32 tensors, checked as far as that goes without the layers: nothing missing, shapes that fit each
    /// other and the configuration, finite values.
    ///
    /// @param required the keys that each layer has
    /// @throws VectuneException if something is wrong, or only the model can tell
    StoredAdapter checked(Set<String> required, Arena arena) {
        Map<String, Map<String, Tensor>> copies = new LinkedHashMap<>();
        modules.forEach((module, tensors) -> {
            // What is there beside the layer's tensors is for the writers to hold or to refuse.
            boolean known = required.containsAll(tensors.keySet());
            if (known) {
                requireKeys(module, tensors, required);
            }
            Map<String, Tensor> own = new LinkedHashMap<>();
            tensors.forEach((key, tensor) -> own.put(key, finite(module, key, tensor, arena)));
            copies.put(module, own);
            if (known && required.contains(LORA_A)) {
                requireFactors(module, required.contains(MAGNITUDE));
            }
        });
        return new StoredAdapter(origin, config, copies);
    }

    private void requireKeys(String module, Map<String, Tensor> tensors, Set<String> required) {
        for (String key : required) {
            if (key.equals("delora_w_norm") && !tensors.containsKey(key)) {
                throw new VectuneException(
                        origin
                                + ": "
                                + module
                                + ": has no "
                                + key
                                + ", which follows from the weights of its model; convert it with the model (--model)");
            }
            // Without a rotation antipasto has no angles.
            if (!key.equals("antipasto_rot_T")) {
                tensor(module, key);
            }
        }
    }

    private void requireFactors(String module, boolean magnitude) {
        Tensor a = tensor(module, LORA_A);
        Tensor b = tensor(module, LORA_B);
        boolean fit = a.axes() == 2 && b.axes() == 2 && a.size(0) == b.size(1);
        if (!fit) {
            throw new FileFormatException(
                    origin
                            + ": "
                            + module
                            + ": expected lora_A (rank, inFeatures) and lora_B (outFeatures, rank), found "
                            + a
                            + " and "
                            + b);
        }
        // Throws where the configuration has another rank.
        scaling(module);
        if (magnitude && tensor(module, MAGNITUDE).elements() != b.size(0)) {
            throw new FileFormatException(
                    origin
                            + ": "
                            + module
                            + ": expected a magnitude of "
                            + b.size(0)
                            + " outputs, found "
                            + tensor(module, MAGNITUDE));
        }
    }

    private Tensor finite(String module, String key, Tensor tensor, Arena arena) {
        if (!tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    origin + ": " + key + " of " + module + ": expected a float type, found " + tensor.dtype());
        }
        Tensor copy = Tensor.allocate(arena, DType.F32, tensor.shape());
        for (long i = 0; i < tensor.elements(); i++) {
            float value = tensor.getFloat(i);
            if (!Float.isFinite(value)) {
                throw new FileFormatException(
                        origin + ": " + key + " of " + module + ": expected finite values, found " + value);
            }
            copy.setFloat(i, value);
        }
        return copy;
    }
}
