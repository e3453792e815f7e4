package io.vectune.cli;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `vectune info`: what is in a model, checkpoint or adapter.
@Command(
        name = "info",
        description =
                "Show what is in a model directory (a decoder or a Flux transformer), a checkpoint, a GGUF file or an"
                        + " adapter.")
final class InfoCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Parameters(
            index = "0",
            paramLabel = "PATH",
            description = "Model directory, .safetensors or .gguf file, or adapter.")
    @SuppressWarnings("NullAway.Init")
    private Path path;

    @Option(names = "--tensors", description = "List every tensor.")
    private boolean tensors;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        Inventory inventory = Inventory.of(path);
        if (json.isOn()) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("path", path.toString());
            object.put("kind", inventory.kind());
            object.putAll(inventory.facts());
            object.put("parameters", inventory.elements());
            object.put("bytes", inventory.bytes());
            object.put("tensors", tensors ? inventory.tensors() : inventory.tensors().size());
            JsonOutput.print(output.out(), object);
            return 0;
        }
        output.result("%-22s %s", "path", path);
        output.result("%-22s %s", "kind", inventory.kind());
        inventory.facts().forEach((name, value) -> print(output, name, value));
        output.result(
                "%-22s %,d in %d tensors, %s",
                "stored values", inventory.elements(), inventory.tensors().size(), Progress.bytes(inventory.bytes()));
        inventory.bytesByType().forEach((type, bytes) -> output.result("%-22s %s", "  " + type, Progress.bytes(bytes)));
        if (tensors) {
            for (Inventory.Entry entry : inventory.tensors()) {
                output.result("%-60s %-8s %s", entry.name(), entry.type(), List.of(entry.shape()));
            }
        }
        return 0;
    }

    private static void print(Output output, String name, Object value) {
        if (value instanceof Map<?, ?> several) {
            output.result("%s", name);
            several.forEach((key, count) -> output.result("  %-44s %s", key, count));
        } else {
            output.result("%-22s %s", name, value);
        }
    }
}
