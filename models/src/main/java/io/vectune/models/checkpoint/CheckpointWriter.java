package io.vectune.models.checkpoint;

import io.vectune.quant.TensorSpec;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Writes the tensors of a model directory: one safetensors file, or shards with their index where it would be larger
/// than [#SHARD_BYTES], as transformers and diffusers write them. All tensors are declared first.
final class CheckpointWriter implements AutoCloseable {
    /// The largest shard.
    static final long SHARD_BYTES = 5_000_000_000L;

    private final Path directory;
    private final String stem;
    private final List<SafetensorsWriter> shards = new ArrayList<>();
    private final Map<String, Integer> shardOf = new TreeMap<>();
    private final List<String> files = new ArrayList<>();
    private final long totalBytes;

    /// @param stem `model` or `diffusion_pytorch_model`
    CheckpointWriter(
            Path directory, String stem, SequencedMap<String, TensorSpec> specs, Map<String, String> metadata) {
        this.directory = directory;
        this.stem = stem;
        List<Map<String, TensorSpec>> plan = plan(specs);
        long bytes = 0;
        try {
            for (int shard = 0; shard < plan.size(); shard++) {
                String file =
                        plan.size() == 1
                                ? stem + ".safetensors"
                                : String.format(
                                        Locale.ROOT, "%s-%05d-of-%05d.safetensors", stem, shard + 1, plan.size());
                files.add(file);
                SafetensorsWriter.Declaration declaration = SafetensorsWriter.declare(metadata);
                for (Map.Entry<String, TensorSpec> entry : plan.get(shard).entrySet()) {
                    declaration.tensor(entry.getKey(), entry.getValue().dtype(), entry.getValue().sizes());
                    shardOf.put(entry.getKey(), shard);
                    bytes += entry.getValue().bytes();
                }
                shards.add(declaration.create(directory.resolve(file)));
            }
        } catch (RuntimeException failure) {
            close();
            throw failure;
        }
        this.totalBytes = bytes;
    }

    private static List<Map<String, TensorSpec>> plan(SequencedMap<String, TensorSpec> specs) {
        List<Map<String, TensorSpec>> plan = new ArrayList<>();
        Map<String, TensorSpec> current = new LinkedHashMap<>();
        long bytes = 0;
        for (Map.Entry<String, TensorSpec> entry : specs.entrySet()) {
            long size = entry.getValue().bytes();
            if (!current.isEmpty() && bytes + size > SHARD_BYTES) {
                plan.add(current);
                current = new LinkedHashMap<>();
                bytes = 0;
            }
            current.put(entry.getKey(), entry.getValue());
            bytes += size;
        }
        plan.add(current);
        return plan;
    }

    /// Bytes of all tensors.
    long totalBytes() {
        return totalBytes;
    }

    /// Writes a declared tensor, or the next piece of it.
    void write(String name, MemorySegment bytes) {
        Integer shard = shardOf.get(name);
        if (shard == null) {
            throw new IllegalArgumentException("tensor " + name + " is not declared");
        }
        shards.get(shard).write(name, bytes);
    }

    /// Checks that all tensors are complete and puts the files, and the index if there is one, into place.
    void commit() {
        shards.forEach(SafetensorsWriter::commit);
        if (shards.size() > 1) {
            ObjectNode index = JsonNodeFactory.instance.objectNode();
            index.putObject("metadata").put("total_size", totalBytes);
            ObjectNode weightMap = index.putObject("weight_map");
            shardOf.forEach((name, shard) -> weightMap.put(name, files.get(shard)));
            StrictJson.write(directory.resolve(stem + ".safetensors.index.json"), index);
        }
    }

    @Override
    public void close() {
        shards.forEach(SafetensorsWriter::close);
    }
}
