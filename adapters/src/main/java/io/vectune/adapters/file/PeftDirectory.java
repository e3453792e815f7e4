package io.vectune.adapters.file;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.BiasTuned;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// An adapter as the Python library PEFT stores it: a directory with `adapter_config.json` and
/// `adapter_model.safetensors`, keys `base_model.model.<module>.<parameter>`.
///
/// Reading is strict: each tensor of the file must find its parameter and each stored parameter its tensor.
public final class PeftDirectory {
    /// The configuration's file.
    public static final String CONFIG = "adapter_config.json";

    /// The tensors' file.
    public static final String WEIGHTS = "adapter_model.safetensors";

    private static final String PREFIX = StoredAdapter.PREFIX;

    // Keys of more than one word; all others are what follows the last dot.
    private static final List<String> LONG_KEYS =
            List.of("lora_A.weight", "lora_B.weight", "lora_B.bias", "oft_R.weight");

    private PeftDirectory() {}

    /// Whether a path looks like such a directory.
    public static boolean isOne(Path path) {
        return Files.isRegularFile(path.resolve(CONFIG));
    }

    /// Reads the configuration alone.
    ///
    /// @throws VectuneException if it cannot be read, or asks for something that is not supported
    public static AdapterConfig readConfig(Path directory) {
        Path file = directory.resolve(CONFIG);
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(directory + ": expected a PEFT adapter with " + CONFIG + ", found none");
        }
        return AdapterConfig.read(new ConfigFields(file.toString(), JsonFields.of(StrictJson.readObject(file))));
    }

    /// Reads an adapter for a host.
    ///
    /// @param sites the host's linear layers
    /// @throws VectuneException if the files are malformed or do not fit the host
    public static AdapterSet read(Path directory, List<LayerSite> sites, Compute compute) {
        AdapterConfig config = readConfig(directory);
        Path file = directory.resolve(WEIGHTS);
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(
                    directory
                            + ": expected "
                            + WEIGHTS
                            + ", found "
                            + (Files.isRegularFile(directory.resolve("adapter_model.bin"))
                                    ? "adapter_model.bin; save it again with safe_serialization=True"
                                    : "no weights"));
        }
        try (Arena arena = Arena.ofShared()) {
            return fill(config, SafetensorsFile.open(file, arena), PREFIX, sites, compute);
        }
    }

    /// Makes the adapters of a configuration from named tensors.
    ///
    /// @param prefix what stands before the module's name in the keys
    static AdapterSet fill(
            AdapterConfig config, TensorSource source, String prefix, List<LayerSite> sites, Compute compute) {
        List<LayerSite> targets = config.select(sites, false);
        Set<String> used = new LinkedHashSet<>();
        List<String> missing = new ArrayList<>();
        AdapterSet set =
                AdapterSet.build(
                        config,
                        targets,
                        sites,
                        site -> key -> source.find(prefix + site.name() + "." + key).map(Tensor::shape).orElse(null),
                        (adapter, site) -> {
                            for (AdapterParameter parameter : adapter.parameters()) {
                                Stored stored = parameter.stored();
                                if (stored == null) {
                                    continue;
                                }
                                String name =
                                        stored.isShared() ? stored.key() : prefix + site.name() + "." + stored.key();
                                used.add(name);
                                if (adapter instanceof TrainableTokens) {
                                    tiedHead(site, sites)
                                            .ifPresent(head -> used.add(prefix + head + "." + stored.key()));
                                }
                                if (source.contains(name)) {
                                    TensorFill.read(
                                            source.tensor(name), parameter, stored, source.origin(), site.name());
                                } else if (stored.required()) {
                                    missing.add(name);
                                }
                            }
                            if (targets.contains(site)) {
                                Adapter inner = adapter instanceof BiasTuned tuned ? tuned.inner() : adapter;
                                if (inner != null) {
                                    config.recipe().complete(inner, site, new Initialization(compute, 0));
                                }
                            }
                        },
                        compute);
        List<String> unexpected = new ArrayList<>(source.names());
        unexpected.removeAll(used);
        try {
            unexpected.removeAll(BaseCopies.equalToTheModels(source, prefix, sites, unexpected));
        } catch (RuntimeException e) {
            set.close();
            throw e;
        }
        if (!missing.isEmpty() || !unexpected.isEmpty()) {
            set.close();
            throw new FileFormatException(difference(source.origin(), missing, unexpected));
        }
        return set;
    }

    // PEFT writes the rows of a tied embedding a second time, under the output head.
    @SuppressWarnings("ReferenceEquality") // tied means one object, not equal content
    private static Optional<String> tiedHead(LayerSite embedding, List<LayerSite> sites) {
        return sites.stream()
                .filter(site -> site.outputHead() && site.weight() == embedding.weight())
                .map(LayerSite::name)
                .findFirst();
    }

    // "FILE: 2 tensors are missing (a, b), 1 is unexpected (c; near matches: a)"
    private static String difference(String origin, List<String> missing, List<String> unexpected) {
        StringBuilder text =
                new StringBuilder(origin).append(": the tensors do not fit the configuration and the model: ");
        if (!missing.isEmpty()) {
            text.append(missing.size()).append(" missing (").append(some(missing)).append(")");
        }
        if (!unexpected.isEmpty()) {
            text.append(missing.isEmpty() ? "" : ", ")
                    .append(unexpected.size())
                    .append(" unexpected (")
                    .append(some(unexpected))
                    .append(")")
                    .append(NearMatches.hint(unexpected.getFirst(), missing));
        }
        return text.append("; the adapter belongs to another model or is incomplete").toString();
    }

    private static String some(List<String> names) {
        return String.join(", ", names.subList(0, Math.min(3, names.size()))) + (names.size() > 3 ? ", ..." : "");
    }

    /// Reads an adapter without a host.
    ///
    /// @param arena the tensors' memory
    static StoredAdapter stored(Path directory, Arena arena) {
        AdapterConfig config = readConfig(directory);
        config.recipe().requireRepeatable(directory.toString());
        SafetensorsFile file = SafetensorsFile.open(directory.resolve(WEIGHTS), arena);
        Map<String, Map<String, Tensor>> modules = new LinkedHashMap<>();
        for (String name : file.names()) {
            String key =
                    LONG_KEYS.stream()
                            .filter(longer -> name.endsWith("." + longer))
                            .findFirst()
                            .orElse(name.substring(name.lastIndexOf('.') + 1));
            int end = name.length() - key.length() - 1;
            if (!name.startsWith(PREFIX) || end <= PREFIX.length()) {
                throw new FileFormatException(
                        file.origin() + ": " + name + ": expected a key " + PREFIX + "<module>.<parameter>");
            }
            modules.computeIfAbsent(name.substring(PREFIX.length(), end), fresh -> new LinkedHashMap<>())
                    .put(key, file.tensor(name));
        }
        return new StoredAdapter(file.origin(), config, modules);
    }

    /// Writes an adapter so that PEFT loads it.
    ///
    /// @param force whether a directory that already holds something is accepted
    /// @throws VectuneException if the place cannot be written; nothing half-written is left
    public static void write(AdapterSet set, Path directory, boolean force) {
        try (Arena arena = Arena.ofConfined()) {
            write(StoredAdapter.of(set, arena), directory, force);
        }
    }

    static void write(StoredAdapter adapter, Path directory, boolean force) {
        try (OutputDirectory out = OutputDirectory.create(directory, force)) {
            SafetensorsWriter.write(out.path().resolve(WEIGHTS), adapter.tensors(), Map.of("format", "pt"));
            StrictJson.write(out.path().resolve(CONFIG), JsonFields.node(adapter.config().fields()));
            out.commit();
        }
    }
}
