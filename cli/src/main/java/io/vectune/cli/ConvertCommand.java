package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.arithmetic.LoraExport;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.flux.FluxAdapter;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.TrainableFluxAdapter;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.flux.file.FluxAdapterWriter;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.compute.CpuTopology;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune convert`: an adapter in another file format, or as a plain LoRA.
@Command(
        name = "convert",
        description = {
            "Write an adapter in another format: peft, lora-lite, diffusers, kohya;",
            "or as a plain LoRA (--to lora: exact where it is one, else the best of --rank with its error).",
            "peft and lora are directories, the others .safetensors files.",
            "With --model of a Flux transformer: its LoRAs of any style to diffusers."
        })
final class ConvertCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--in",
            required = true,
            paramLabel = "PATH",
            description = "The adapter: directory or .safetensors file.")
    @SuppressWarnings("NullAway.Init")
    private Path in;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Option(
            names = "--to",
            required = true,
            paramLabel = "FORMAT",
            description = "peft, lora-lite, diffusers, kohya or lora.")
    @SuppressWarnings("NullAway.Init")
    private String to;

    @Option(
            names = "--model",
            paramLabel = "PATH",
            description =
                    "The model that the adapter belongs to. Needed with --to lora, where weights decide what a kind does,"
                            + " and where only the model tells which layers names mean; others are renamed without it.")
    private @Nullable Path model;

    @Option(
            names = "--rank",
            paramLabel = "R",
            defaultValue = "16",
            description = "--to lora: rank where the adapter is no LoRA (default: ${DEFAULT-VALUE}).")
    private int rank;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        String format = to.toLowerCase(Locale.ROOT);
        boolean directory = format.equals("peft") || format.equals("lora");
        if (!directory && !format.equals("lora-lite") && !format.equals("diffusers") && !format.equals("kohya")) {
            throw new UsageException("--to: expected peft, lora-lite, diffusers, kohya or lora, found \"" + to + "\"");
        }
        if (rank < 1) {
            throw new UsageException("--rank: expected at least 1, found " + rank);
        }
        if (format.equals("lora") && model == null) {
            throw new UsageException(
                    "--model: expected the model of the adapter, as --to lora computes from its weights; found none");
        }
        Inputs.of(in, model).keepApart("--out", out.path());
        if (directory) {
            out.checkDirectory();
        } else {
            out.checkFile();
        }
        if (model == null) {
            AdapterFiles.rename(in, out.path(), format(format), out.force());
        } else if (FluxLoader.isOne(model)) {
            convertFlux(output, model, format);
        } else {
            convert(output, model, format);
        }
        output.note("wrote %s", out.path());
        return 0;
    }

    private void convert(Output output, Path path, String format) {
        try (Host host = Host.open(path, null, List.of(), CpuTopology.usablePhysicalCores());
                AdapterSet set = AdapterFiles.read(in, host.model().sites(), host.compute())) {
            if (format.equals("lora")) {
                exportLora(output, host, set);
            } else {
                AdapterFiles.write(set, out.path(), format(format), out.force());
            }
        }
    }

    /// An adapter of a Flux transformer in any style that is read (diffusers, kohya, ComfyUI, x-labs, the model's
    /// makers), as diffusers loads it.
    private void convertFlux(Output output, Path path, String format) {
        if (!format.equals("diffusers")) {
            throw new UsageException(
                    "--to: adapters of a Flux transformer are written as diffusers, found \"" + to + "\"");
        }
        try (FluxHost host = new FluxHost(path, null, List.of(), CpuTopology.usablePhysicalCores())) {
            FluxModel base = host.adapters().base();
            FluxAdapter read = FluxAdapterFile.read(in, base.config(), host.arena());
            if (!read.ignored().isEmpty()) {
                output.note(
                        "%d tensors are of other parts of a pipeline and left out: %s%s",
                        read.ignored().size(), read.ignored().getFirst(), read.ignored().size() > 1 ? ", ..." : "");
            }
            int inChannels = Math.max(read.inChannels(), base.config().inChannels());
            try (TrainableFluxAdapter adapter = TrainableFluxAdapter.of(base, read, inChannels, host.compute(), 0)) {
                FluxAdapterWriter.write(adapter.set(), adapter.norms(), out.path());
            }
        }
    }

    private static AdapterFiles.Format format(String name) {
        return switch (name) {
            case "lora-lite" -> AdapterFiles.Format.LORA_LITE;
            case "diffusers" -> AdapterFiles.Format.DIFFUSERS;
            case "kohya" -> AdapterFiles.Format.KOHYA;
            default -> AdapterFiles.Format.PEFT;
        };
    }

    private void exportLora(Output output, Host host, AdapterSet set) {
        LoraExport.Result result = LoraExport.export(set, host.compute(), rank);
        try (AdapterSet lora = result.set()) {
            for (LoraExport.Layer layer : result.layers()) {
                if (!layer.exact()) {
                    output.result(
                            "%-52s rank %d, relative error %.5f", layer.module(), layer.rank(), layer.relativeError());
                }
            }
            AdapterFiles.write(lora, out.path(), AdapterFiles.Format.PEFT, out.force());
            long exact = result.layers().stream().filter(LoraExport.Layer::exact).count();
            double worst = result.layers().stream().mapToDouble(LoraExport.Layer::relativeError).max().orElse(0);
            output.note(
                    "%d layers exactly, %d approximated (largest relative error %.5f)",
                    exact, result.layers().size() - exact, worst);
        }
    }
}
