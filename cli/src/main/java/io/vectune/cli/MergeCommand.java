package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.checkpoint.FluxMerge;
import io.vectune.models.checkpoint.MergeCheckpoint;
import io.vectune.models.checkpoint.MergedLayer;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import java.nio.file.Files;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
        description = {
            "Fold adapters into the weights: W' = W + sum of WEIGHT x (W with the adapter - W).",
            "In a Flux transformer a Control LoRA also widens the input and replaces norms.",
            "--json: with --requantize, what each layer kept of the change."
        })
final class MergeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Option(
            names = "--dtype",
            paramLabel = "TYPE",
            description = "f32, bf16 or f16 for all float tensors (default: as they are).")
    private @Nullable String dtype;

    @Option(
            names = "--requantize",
            description =
                    "Quantize changed layers again instead of writing them dense; this loses a part of the change, which is"
                            + " reported.")
    private boolean requantize;

    @Option(
            names = "--dense-input",
            description = "Flux, --requantize: leave x_embedder dense, as diffusers does after widening it.")
    private boolean denseInput;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        DType type = DtypeOption.parse(dtype);
        if (requantize && type != null) {
            throw new UsageException("--dtype is for dense results; leave it out with --requantize");
        }
        if (json.isOn() && !requantize) {
            throw new UsageException("--json prints the report of --requantize; without it there is none");
        }
        boolean flux = FluxLoader.isOne(host.model());
        if (denseInput && !(flux && requantize)) {
            throw new UsageException("--dense-input belongs to --requantize of a Flux transformer");
        }
        host.inputs().keepApart("--out", out.path());
        out.checkDirectory();
        if (!Files.isDirectory(host.model())) {
            throw new VectuneException(
                    host.model()
                            + ": expected a model directory to merge into; a GGUF file is quantized with metadata that a merged"
                            + " model cannot keep, so use the adapter beside it, or merge into the model it was made from");
        }
        if (flux) {
            return mergeFlux(output, type);
        }
        try (Host opened = host.open(null)) {
            AdapterSet adapters = opened.adapterSet();
            if (adapters == null) {
                throw new UsageException("--adapter: expected at least one adapter to merge, found none");
            }
            if (requantize) {
                report(
                        output,
                        MergeCheckpoint.requantize(
                                host.model(), out.path(), out.force(), adapters, opened.compute(), layer -> {}));
                return 0;
            }
            int layers =
                    MergeCheckpoint.directory(
                            host.model(), out.path(), out.force(), adapters, type, opened.compute(), layer -> {});
            output.note("%d layers changed; wrote %s", layers, out.path());
        }
        return 0;
    }

    private void report(Output output, List<MergedLayer> layers) {
        MergedLayer total = MergedLayer.total(layers);
        if (json.isOn()) {
            Map<String, Object> object = new LinkedHashMap<>(fields(total));
            object.put("layers", layers.stream().map(MergeCommand::fields).toList());
            object.put("out", out.path().toString());
            JsonOutput.print(output.out(), object);
            return;
        }
        output.result("%-52s %12s %8s %8s %8s", "layer", "change", "kept", "moved", "noise");
        layers.forEach(layer -> print(output, layer));
        print(output, total);
        output.result(
                "%.1f %% of the change survived; wrote %s (merge without --requantize to keep all of it)",
                100 * total.kept(), out.path());
    }

    private static void print(Output output, MergedLayer layer) {
        output.result(
                "%-52s %12.5g %8.4f %8.4f %8.4f",
                layer.layer(), layer.changeNorm(), layer.kept(), layer.moved(), layer.noise());
    }

    private static Map<String, Object> fields(MergedLayer layer) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("layer", layer.layer());
        fields.put("change_norm", layer.changeNorm());
        fields.put("kept", layer.kept());
        fields.put("moved", layer.moved());
        fields.put("noise", layer.noise());
        return fields;
    }

    private int mergeFlux(Output output, @Nullable DType type) {
        try (FluxHost opened = host.openFlux()) {
            opened.printIgnored(output);
            if (opened.adapters().layers().isEmpty()) {
                throw new UsageException("--adapter: expected at least one adapter to merge, found none");
            }
            FluxMerge.Result result =
                    FluxMerge.directory(
                            FluxLoader.directory(host.model()),
                            out.path(),
                            out.force(),
                            opened.adapters(),
                            type,
                            quantizedChanges(),
                            opened.compute());
            if (requantize) {
                report(output, result.requantized());
            }
            output.note(
                    "%d layers changed, %d of them quantized again, %d quantized before and dense now; %d quantized in"
                            + " all; wrote %s",
                    result.changed(),
                    result.requantized().size(),
                    result.madeDense().size(),
                    result.quantized(),
                    out.path());
            long namesakes =
                    result.madeDense().stream().filter(layer -> !opened.adapters().layers().containsKey(layer)).count();
            if (namesakes > 0) {
                output.note(
                        "%d layers are dense only because diffusers cannot tell them from proj_out; --requantize keeps all"
                                + " of them quantized",
                        namesakes);
            }
        }
        return 0;
    }

    private FluxMerge.QuantizedChanges quantizedChanges() {
        if (!requantize) {
            return FluxMerge.QuantizedChanges.DENSE;
        }
        return denseInput
                ? FluxMerge.QuantizedChanges.QUANTIZED_AGAIN_BUT_INPUT
                : FluxMerge.QuantizedChanges.QUANTIZED_AGAIN;
    }
}
