package io.vectune.cli;

import io.vectune.quant.WeightQuantizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// The options of every command that runs a model.
final class HostOptions {
    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ModelOption model;

    @Option(
            names = "--adapter",
            paramLabel = "PATH[=WEIGHT]",
            description =
                    "Adapter to use: a PEFT directory, or a lora-lite or diffusers .safetensors file. Several add up.")
    private List<String> adapters = new ArrayList<>();

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ThreadsOption threads;

    /// The model's path.
    Path model() {
        return model.path();
    }

    /// The model, the adapters and further files that a command reads, which no result may replace.
    Inputs inputs(Path... more) {
        List<Path> paths = new ArrayList<>(List.of(more));
        paths.add(model.path());
        references().forEach(reference -> paths.add(reference.path()));
        return Inputs.of(paths.toArray(Path[]::new));
    }

    /// Maps the model and its adapters.
    ///
    /// @param quantizer quantizes the linear layers in memory first; null to take them as they are
    Host open(@Nullable WeightQuantizer quantizer) {
        return Host.open(model.path(), quantizer, references(), threads.size());
    }

    /// Maps a Flux transformer and its adapters.
    FluxHost openFlux() {
        return new FluxHost(model.path(), null, references(), threads.size());
    }

    private List<AdapterReference> references() {
        return adapters.stream().map(AdapterReference::parse).toList();
    }
}
