package io.vectune.runtime.safetensors;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The weights of a model: one safetensors file, or the shards that an index names.
public final class SafetensorsCheckpoint implements TensorSource {
    private static final String INDEX_SUFFIX = ".safetensors.index.json";

    /// What a model directory calls its weights: transformers' name, then diffusers'.
    private static final List<String> STEMS = List.of("model", "diffusion_pytorch_model");

    private final Path path;
    private final List<Path> files;
    private final Map<String, SafetensorsFile> shardOf;
    private final Map<String, String> metadata;

    private SafetensorsCheckpoint(Path path, Map<Path, SafetensorsFile> shards) {
        this.path = path;
        this.files = List.copyOf(shards.keySet());
        Map<String, SafetensorsFile> byName = new LinkedHashMap<>();
        Map<String, String> texts = new LinkedHashMap<>();
        for (SafetensorsFile shard : shards.values()) {
            for (String name : shard.names()) {
                byName.put(name, shard);
            }
            shard.metadata().forEach(texts::putIfAbsent);
        }
        this.shardOf = Collections.unmodifiableMap(byName);
        this.metadata = Collections.unmodifiableMap(texts);
    }

    /// Maps a checkpoint.
    ///
    /// @param path a .safetensors file, an index (`*.safetensors.index.json`), or a model directory that has one of
    ///   them; where a directory has both, the single file is taken, as transformers does
    /// @param arena owns the mappings
    /// @throws FileFormatException if a file is malformed, or index and shards contradict each other
    /// @throws VectuneException if there are no weights or they cannot be read
    public static SafetensorsCheckpoint open(Path path, Arena arena) {
        Path file = Files.isDirectory(path) ? weightsIn(path) : path;
        if (file.toString().endsWith(INDEX_SUFFIX)) {
            return new SafetensorsCheckpoint(path, openShards(file, arena));
        }
        Map<Path, SafetensorsFile> single = new LinkedHashMap<>();
        single.put(file, SafetensorsFile.open(file, arena));
        return new SafetensorsCheckpoint(path, single);
    }

    /// Whether a directory has weights that [#open] would take.
    public static boolean isCheckpoint(Path directory) {
        return STEMS.stream()
                .anyMatch(stem ->
                        Files.isRegularFile(directory.resolve(stem + ".safetensors"))
                                || Files.isRegularFile(directory.resolve(stem + INDEX_SUFFIX)));
    }

    private static Path weightsIn(Path directory) {
        for (String stem : STEMS) {
            for (String suffix : new String[] {".safetensors", INDEX_SUFFIX}) {
                Path candidate = directory.resolve(stem + suffix);
                if (Files.isRegularFile(candidate)) {
                    return candidate;
                }
            }
        }
        List<String> others = new ArrayList<>();
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(directory, "*.safetensors")) {
            entries.forEach(entry -> others.add(directory.relativize(entry).toString()));
        } catch (IOException e) {
            throw FileFailure.reading(directory, e);
        }
        Collections.sort(others);
        throw new VectuneException(
                directory
                        + ": expected model.safetensors or model.safetensors.index.json (diffusers:"
                        + " diffusion_pytorch_model for model), found "
                        + (others.isEmpty()
                                ? "no .safetensors file"
                                : String.join(", ", others.subList(0, Math.min(3, others.size())))
                                        + "; name such a file itself"));
    }

    private static Map<Path, SafetensorsFile> openShards(Path index, Arena arena) {
        ObjectNode root = StrictJson.readObject(index);
        if (!(root.get("weight_map") instanceof ObjectNode weightMap) || weightMap.isEmpty()) {
            throw new FileFormatException(index + ": expected a non-empty object weight_map from tensors to files");
        }
        Map<String, String> fileOf = new LinkedHashMap<>();
        Map<String, SafetensorsFile> shards = new TreeMap<>();
        for (Map.Entry<String, JsonNode> entry : weightMap.properties()) {
            fileOf.put(entry.getKey(), shardName(index, entry.getKey(), entry.getValue()));
        }
        for (Map.Entry<String, String> entry : fileOf.entrySet()) {
            if (!shards.containsKey(entry.getValue())) {
                Path shard = index.resolveSibling(entry.getValue());
                if (!Files.exists(shard)) {
                    throw new FileFormatException(
                            index + ": tensor " + entry.getKey() + " should be in " + shard + ", which does not exist");
                }
                shards.put(entry.getValue(), SafetensorsFile.open(shard, arena));
            }
        }
        compare(index, fileOf, shards);
        Map<Path, SafetensorsFile> byPath = new LinkedHashMap<>();
        shards.forEach((name, shard) -> byPath.put(index.resolveSibling(name), shard));
        return byPath;
    }

    /// A shard lies beside its index: an index from a stranger must not make us open other files.
    private static String shardName(Path index, String tensor, JsonNode value) {
        String name = value.isString() ? value.asString() : "";
        boolean plain = name.endsWith(".safetensors") && !name.contains("/") && !name.contains("\\");
        if (!plain) {
            throw new FileFormatException(
                    index
                            + ": weight_map entry "
                            + tensor
                            + ": expected the name of a .safetensors file beside the index, found "
                            + value);
        }
        return name;
    }

    private static void compare(Path index, Map<String, String> fileOf, Map<String, SafetensorsFile> shards) {
        for (Map.Entry<String, String> entry : fileOf.entrySet()) {
            SafetensorsFile shard = shards.get(entry.getValue());
            if (shard == null || !shard.contains(entry.getKey())) {
                throw new FileFormatException(
                        index
                                + ": tensor "
                                + entry.getKey()
                                + " should be in "
                                + entry.getValue()
                                + ", which does not have it");
            }
        }
        for (Map.Entry<String, SafetensorsFile> shard : shards.entrySet()) {
            for (String name : shard.getValue().names()) {
                String indexed = fileOf.get(name);
                if (!shard.getKey().equals(indexed)) {
                    throw new FileFormatException(
                            index
                                    + ": "
                                    + shard.getKey()
                                    + " has the tensor "
                                    + name
                                    + (indexed == null
                                            ? ", which the index does not name"
                                            : ", which the index places in " + indexed));
                }
            }
        }
    }

    /// The files, in the order of [#names].
    public List<Path> files() {
        return files;
    }

    @Override
    public Set<String> names() {
        return shardOf.keySet();
    }

    @Override
    public Tensor tensor(String name) {
        SafetensorsFile shard = shardOf.get(name);
        if (shard == null) {
            throw missing(name);
        }
        return shard.tensor(name);
    }

    @Override
    public Map<String, String> metadata() {
        return metadata;
    }

    @Override
    public String origin() {
        return path.toString();
    }
}
