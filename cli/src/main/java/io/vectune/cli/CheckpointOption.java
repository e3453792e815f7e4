package io.vectune.cli;

import io.vectune.models.load.FluxLoader;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/// The option `--model` of every command that turns a checkpoint into another.
final class CheckpointOption {
    @Option(
            names = "--model",
            required = true,
            paramLabel = "PATH",
            description =
                    "Model directory, or a checkpoint file: .safetensors or .gguf; dequantize also reads .pt (hqq).")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    /// The path as the user gave it.
    Path given() {
        return model;
    }

    /// What is read: the given path, or of a pipeline's directory its Flux transformer.
    Path path() {
        return FluxLoader.directory(model);
    }
}
