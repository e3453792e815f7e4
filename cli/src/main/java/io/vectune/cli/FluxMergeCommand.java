package io.vectune.cli;

import io.vectune.models.checkpoint.FluxMerge;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.tensor.DType;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune flux merge`: adapters folded into a copy of the transformer.
@Command(
        name = "merge",
        description = {
            "Fold LoRAs and Control LoRAs into a copy of the transformer, its input widened.",
            "Quantized layers that change become dense; quantize the result again with vectune quantize."
        })
final class FluxMergeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--model",
            required = true,
            paramLabel = "DIR",
            description = "Transformer or pipeline directory of diffusers.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    @Option(
            names = "--adapter",
            required = true,
            paramLabel = "PATH[=WEIGHT]",
            description = "LoRA or Control LoRA; several add up.")
    private List<String> adapters = new ArrayList<>();

    @Option(names = "--out", required = true, paramLabel = "DIR", description = "Directory to write.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            description = "f32, bf16 or f16 for all float tensors (default: as they are).")
    private @Nullable String dtype;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Threads (default: one a physical core).")
    private int threads;

    @Option(names = "--force", description = "Replace files in an output directory that holds something.")
    private boolean force;

    @Override
    public Integer call() {
        DType type = DtypeOption.parse(dtype);
        OutputDirectory.check(out, force);
        try (FluxHost host = new FluxHost(model, adapters, threads)) {
            int layers =
                    FluxMerge.directory(FluxLoader.directory(model), out, force, host.adapters(), type, host.compute());
            Output.of(spec).note("%d layers changed; wrote %s", layers, out);
        }
        return 0;
    }
}
