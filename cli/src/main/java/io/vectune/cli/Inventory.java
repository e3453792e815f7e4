package io.vectune.cli;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.file.LoraFile;
import io.vectune.adapters.file.LoraLiteFile;
import io.vectune.adapters.file.PeftDirectory;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.flux.file.FluxAdapterSummary;
import io.vectune.models.load.FluxLoader;
import io.vectune.models.load.ModelTensors;
import io.vectune.quant.WeightFormats;
import io.vectune.quant.gguf.GgufFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// What a path holds: its kind, what its configuration says, its tensors.
///
/// @param kind `model`, `gguf model`, `PEFT adapter`, `lora-lite adapter`, `LoRA file`, `checkpoint`, `Flux
///   transformer`, `Flux LoRA`, `Flux Control LoRA`
/// @param facts from configuration or metadata, in order
record Inventory(String kind, Map<String, Object> facts, List<Entry> tensors) {
    private static final List<String> CONFIG_FIELDS =
            List.of(
                    "architectures",
                    "_class_name",
                    "model_type",
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "num_key_value_heads",
                    "head_dim",
                    "vocab_size",
                    "max_position_embeddings",
                    "tie_word_embeddings",
                    "in_channels",
                    "num_layers",
                    "num_single_layers",
                    "attention_head_dim",
                    "joint_attention_dim",
                    "pooled_projection_dim",
                    "guidance_embeds",
                    "torch_dtype",
                    "dtype");
    private static final List<String> GGUF_FIELDS =
            List.of("general.architecture", "general.name", "tokenizer.ggml.model", "tokenizer.ggml.pre");

    /// One tensor as it is stored.
    record Entry(String name, String type, String shape, long elements, long bytes) {}

    /// Looks at a path.
    ///
    /// @throws VectuneException if it is nothing of ours, or malformed
    static Inventory of(Path path) {
        if (!Files.exists(path)) {
            throw new VectuneException(path + ": no such file or directory");
        }
        try (Arena arena = Arena.ofShared()) {
            if (Files.isDirectory(path)) {
                return directory(path, arena);
            }
            String name = path.toString().toLowerCase(Locale.ROOT);
            if (name.endsWith(".gguf")) {
                return gguf(path, arena);
            }
            if (ModelTensors.isPickled(path)) {
                TensorSource source = ModelTensors.open(path, arena);
                Map<String, Object> facts = new LinkedHashMap<>();
                addFormats(facts, source);
                return new Inventory("weights pickled by hqq", facts, entries(source));
            }
            if (name.endsWith(".safetensors")) {
                return file(path, arena);
            }
        }
        throw new VectuneException(
                path + ": expected a model directory, an adapter, or a .safetensors or .gguf file, found another file");
    }

    private static Inventory directory(Path path, Arena arena) {
        Path lora = path.resolve(FluxAdapterFile.DIFFUSERS_FILE);
        if (Files.isRegularFile(lora)) {
            return file(lora, arena);
        }
        return PeftDirectory.isOne(path) ? peft(path, arena) : model(FluxLoader.directory(path), arena);
    }

    private static Inventory peft(Path path, Arena arena) {
        AdapterConfig config = PeftDirectory.readConfig(path);
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("adapter", config.recipe().kind());
        config.fields()
                .forEach((field, value) -> {
                    if (value != null && !field.equals("inference_mode")) {
                        facts.put(field, value);
                    }
                });
        TensorSource source = SafetensorsCheckpoint.open(path.resolve(PeftDirectory.WEIGHTS), arena);
        FluxAdapterSummary.of(source).ifPresent(flux -> facts.putAll(FluxInventory.adapter(flux)));
        return new Inventory("PEFT adapter", facts, entries(source));
    }

    private static Inventory model(Path path, Arena arena) {
        Path file = path.resolve("config.json");
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(
                    path
                            + ": expected config.json (a model) or "
                            + PeftDirectory.CONFIG
                            + " (an adapter) in the directory, found neither");
        }
        ObjectNode config = StrictJson.readObject(file);
        Map<String, Object> facts = new LinkedHashMap<>();
        for (String field : CONFIG_FIELDS) {
            JsonNode value = config.get(field);
            if (value != null && !value.isNull()) {
                facts.put(field, StrictJson.mapper().convertValue(value, Object.class));
            }
        }
        TensorSource source = ModelTensors.open(path, arena);
        addFormats(facts, source);
        if (FluxLoader.isOne(path)) {
            facts.putAll(FluxInventory.model(path, arena));
            return new Inventory("Flux transformer", facts, entries(source));
        }
        return new Inventory(ModelTensors.isPickled(path) ? "model (pickled by hqq)" : "model", facts, entries(source));
    }

    private static Inventory gguf(Path path, Arena arena) {
        GgufFile file = GgufFile.open(path, arena);
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("gguf version", file.version());
        for (String key : GGUF_FIELDS) {
            if (file.metadata().has(key)) {
                facts.put(key, file.metadata().string(key));
            }
        }
        String architecture = file.metadata().string("general.architecture", "");
        for (String key : file.metadata().keys()) {
            if (!architecture.isEmpty() && key.startsWith(architecture + ".")) {
                facts.put(key, file.metadata().describe(key));
            }
        }
        List<Entry> entries = new ArrayList<>();
        file.tensors()
                .forEach((name, tensor) ->
                        entries.add(
                                new Entry(
                                        name,
                                        tensor.type().name(),
                                        Arrays.toString(tensor.shape()),
                                        tensor.elements(),
                                        tensor.segment().byteSize())));
        return new Inventory("gguf model", facts, entries);
    }

    private static Inventory file(Path path, Arena arena) {
        TensorSource source = SafetensorsCheckpoint.open(path, arena);
        Map<String, Object> facts = new LinkedHashMap<>(source.metadata());
        String kind = "checkpoint";
        Optional<FluxAdapterSummary> flux = FluxAdapterSummary.of(source);
        if (flux.isPresent()) {
            kind = FluxInventory.kind(flux.get());
            facts.putAll(FluxInventory.adapter(flux.get()));
        } else if (LoraLiteFile.isOne(path)) {
            kind = "lora-lite adapter";
        } else if (source.names().stream().anyMatch(name -> name.contains("lora_"))) {
            kind = "LoRA file";
            facts.put("adapted modules", LoraFile.modules(path).size());
        }
        addFormats(facts, source);
        return new Inventory(kind, facts, entries(source));
    }

    /// How many layers the checkpoint holds in each quantized format.
    private static void addFormats(Map<String, Object> facts, TensorSource source) {
        Map<String, Integer> layers = new TreeMap<>();
        for (String name : source.names()) {
            String layer =
                    name.endsWith(".weight")
                            ? name.substring(0, name.length() - ".weight".length())
                            : name.endsWith(".W_q") ? name.substring(0, name.length() - ".W_q".length()) : "";
            if (!layer.isEmpty()) {
                WeightFormats.of(source, layer).ifPresent(format -> layers.merge(format.name(), 1, Integer::sum));
            }
        }
        layers.forEach((format, count) -> facts.put("quantized layers (" + format + ")", count));
    }

    private static List<Entry> entries(TensorSource source) {
        List<Entry> entries = new ArrayList<>();
        for (String name : source.names()) {
            Tensor tensor = source.tensor(name);
            entries.add(
                    new Entry(
                            name,
                            tensor.dtype().name(),
                            Arrays.toString(tensor.shape()),
                            tensor.elements(),
                            tensor.byteSize()));
        }
        return entries;
    }

    /// Stored values of all tensors; packed codes count as stored.
    long elements() {
        return tensors.stream().mapToLong(Entry::elements).sum();
    }

    /// Stored bytes of all tensors.
    long bytes() {
        return tensors.stream().mapToLong(Entry::bytes).sum();
    }

    /// Bytes by element type.
    Map<String, Long> bytesByType() {
        Map<String, Long> bytes = new TreeMap<>();
        tensors.forEach(entry -> bytes.merge(entry.type(), entry.bytes(), Long::sum));
        return bytes;
    }
}
