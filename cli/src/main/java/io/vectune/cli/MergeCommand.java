package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.checkpoint.MergeCheckpoint;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.tensor.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune merge`: adapters folded into a copy of the model.
@Command(
        name = "merge",
        description = "Fold adapters into the weights: W' = W + sum of WEIGHT x (W with the adapter - W).")
final class MergeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Option(names = "--out", required = true, paramLabel = "DIR", description = "Directory to write.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            description = "f32, bf16 or f16 for all float tensors (default: as they are).")
    private @Nullable String dtype;

    @Option(names = "--force", description = "Replace files in an output directory that holds something.")
    private boolean force;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        DType type = DtypeOption.parse(dtype);
        OutputDirectory.check(out, force);
        if (!Files.isDirectory(host.model())) {
            throw new VectuneException(
                    host.model()
                            + ": expected a model directory to merge into; a GGUF file is quantized with metadata that a merged"
                            + " model cannot keep, so use the adapter beside it, or merge into the model it was made from");
        }
        try (Host opened = host.open(null)) {
            AdapterSet adapters = opened.adapterSet();
            if (adapters == null) {
                throw new UsageException("--adapter: expected at least one adapter to merge, found none");
            }
            int layers =
                    MergeCheckpoint.directory(host.model(), out, force, adapters, type, opened.compute(), layer -> {});
            output.note("%d layers changed; wrote %s", layers, out);
        }
        return 0;
    }
}
