package io.vectune.cli;

import io.vectune.models.checkpoint.DequantizeCheckpoint;
import io.vectune.models.checkpoint.GgufExport;
import io.vectune.models.load.ModelTensors;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.tensor.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune dequantize`: quantized layers back into dense ones.
@Command(
        name = "dequantize",
        description = {
            "Turn the quantized layers of a model directory or .safetensors file into dense NAME.weight,",
            "or a .gguf file into a Hugging Face model directory."
        })
final class DequantizeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--model",
            required = true,
            paramLabel = "PATH",
            description = "Model directory, or .safetensors, .pt (hqq) or .gguf file.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    @Option(
            names = "--out",
            required = true,
            paramLabel = "PATH",
            description = "Directory or file to write, as --model.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            description = "f32, bf16 or f16 (default: the type in which the library dequantizes).")
    private @Nullable String dtype;

    @Option(names = "--force", description = "Replace what is there.")
    private boolean force;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        DType type = DtypeOption.parse(dtype);
        Inputs.of(model).keepApart("--out", out);
        Consumer<String> each = layer -> {};
        int layers;
        try (ThreadTeam team = ThreadTeam.ofPhysicalCores();
                Compute compute = new Compute(team)) {
            layers = run(compute, type, each);
        }
        output.note("%d layers dequantized; wrote %s", layers, out);
        return 0;
    }

    private int run(Compute compute, @Nullable DType type, Consumer<String> each) {
        if (Output.isSafetensors(model) || (ModelTensors.isPickled(model) && Output.isSafetensors(out))) {
            Output.checkFile(out, force);
            return DequantizeCheckpoint.file(model, out, type, compute, each);
        }
        if (model.toString().toLowerCase(Locale.ROOT).endsWith(".gguf") && Files.isRegularFile(model)) {
            OutputDirectory.check(out, force);
            return GgufExport.directory(model, out, force, type, compute, each);
        }
        if (!Files.isDirectory(model)) {
            throw new VectuneException(
                    model
                            + ": expected a model directory or a .safetensors file"
                            + (Files.exists(model) ? ", found another file" : "; there is no such path"));
        }
        OutputDirectory.check(out, force);
        return DequantizeCheckpoint.directory(model, out, force, type, compute, each);
    }
}
