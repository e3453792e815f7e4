package io.vectune.cli;

import io.vectune.models.checkpoint.DequantizeCheckpoint;
import io.vectune.models.checkpoint.GgufExport;
import io.vectune.models.load.ModelTensors;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import java.nio.file.Files;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune dequantize`: quantized layers back into dense ones.
@Command(
        name = "dequantize",
        description = {
            "Turn the quantized layers of a model directory, .safetensors or .pt (hqq) file into dense NAME.weight,",
            "or a .gguf file into a Hugging Face model directory."
        })
final class DequantizeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private CheckpointOption model;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            description = "f32, bf16 or f16 (default: the type in which the library dequantizes).")
    private @Nullable String dtype;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        DType type = DtypeOption.parse(dtype);
        Inputs.of(model.given()).keepApart("--out", out.path());
        Consumer<String> each = layer -> {};
        int layers;
        try (ThreadTeam team = ThreadTeam.ofPhysicalCores();
                Compute compute = new Compute(team)) {
            layers = run(compute, type, each);
        }
        output.note("%d layers dequantized; wrote %s", layers, out.path());
        return 0;
    }

    private int run(Compute compute, @Nullable DType type, Consumer<String> each) {
        if (Output.isSafetensors(model.path())
                || (ModelTensors.isPickled(model.path()) && Output.isSafetensors(out.path()))) {
            out.checkFile();
            return DequantizeCheckpoint.file(model.path(), out.path(), type, compute, each);
        }
        if (model.path().toString().toLowerCase(Locale.ROOT).endsWith(".gguf") && Files.isRegularFile(model.path())) {
            out.checkDirectory();
            return GgufExport.directory(model.path(), out.path(), out.force(), type, compute, each);
        }
        if (!Files.isDirectory(model.path())) {
            throw new VectuneException(
                    model.path()
                            + ": expected a model directory or a .safetensors file"
                            + (Files.exists(model.path()) ? ", found another file" : "; there is no such path"));
        }
        out.checkDirectory();
        return DequantizeCheckpoint.directory(model.path(), out.path(), out.force(), type, compute, each);
    }
}
