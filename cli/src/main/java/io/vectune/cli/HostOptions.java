package io.vectune.cli;

import io.vectune.quant.WeightQuantizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// The options of every command that runs a model.
final class HostOptions {
    @Option(
            names = "--model",
            required = true,
            paramLabel = "PATH",
            description = "Hugging Face model directory or .gguf file.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    @Option(
            names = "--adapter",
            paramLabel = "PATH[=WEIGHT]",
            description =
                    "Adapter to use: a PEFT directory, or a lora-lite or diffusers .safetensors file. Several add up.")
    private List<String> adapters = new ArrayList<>();

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Threads to compute with (default: one a physical core).")
    private int threads;

    /// The model's path.
    Path model() {
        return model;
    }

    /// Maps the model and its adapters.
    ///
    /// @param quantizer quantizes the linear layers in memory first; null to take them as they are
    Host open(@Nullable WeightQuantizer quantizer) {
        return Host.open(model, quantizer, references(), threads);
    }

    /// Maps a Flux transformer and its adapters.
    FluxHost openFlux() {
        return new FluxHost(model, null, references(), threads);
    }

    private List<AdapterReference> references() {
        return adapters.stream().map(AdapterReference::parse).toList();
    }
}
