package io.vectune.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/// The option `--model` of every command that runs a model.
final class ModelOption {
    @Option(
            names = "--model",
            required = true,
            paramLabel = "PATH",
            description = "Hugging Face model directory or .gguf file; of a Flux transformer, diffusers' directory.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    /// The path as the user gave it.
    Path path() {
        return model;
    }
}
