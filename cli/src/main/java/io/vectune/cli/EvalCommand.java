package io.vectune.cli;

import io.vectune.models.data.DataSet;
import io.vectune.models.eval.Evaluation;
import io.vectune.models.load.ModelText;
import io.vectune.runtime.VectuneException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/// `vectune eval`: loss and perplexity on a data file.
@Command(
        name = "eval",
        description = {
            "Mean loss over the labelled tokens of a data file, and perplexity.",
            "--json: loss, perplexity, tokens, rows, exact_match."
        })
final class EvalCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private QuantizeOnLoad quantize;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private DataOptionsMixin data;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        try (Host opened = host.open(quantize.quantizer())) {
            DataSet rows = data.load(ModelText.of(host.model()), opened.model(), output);
            long start = System.nanoTime();
            Evaluation evaluation;
            try (Progress progress = Progress.start(output.err(), "eval", rows.rows().size(), "rows")) {
                evaluation =
                        Evaluation.of(
                                opened.model(),
                                opened.adapters(),
                                opened.compute(),
                                rows.rows(),
                                done -> progress.at(done, ""));
            }
            double seconds = (System.nanoTime() - start) * 1e-9;
            if (!Double.isFinite(evaluation.loss())) {
                throw new VectuneException(
                        host.model()
                                + ": the loss is "
                                + evaluation.loss()
                                + "; the model or the adapter has values that are not finite");
            }
            if (json.isOn()) {
                Map<String, Object> object = new LinkedHashMap<>();
                object.put("loss", evaluation.loss());
                object.put("perplexity", evaluation.perplexity());
                object.put("tokens", evaluation.tokens());
                object.put("rows", evaluation.rows());
                object.put("exact_match", evaluation.exactMatch());
                object.put("seconds", seconds);
                JsonOutput.print(output.out(), object);
            } else {
                output.result("loss        %.6f", evaluation.loss());
                output.result("perplexity  %.4f", evaluation.perplexity());
                output.result("tokens      %d in %d rows", evaluation.tokens(), evaluation.rows());
                output.result("exact rows  %.1f %%", 100 * evaluation.exactMatch());
                output.note("%.0f tokens/s, %s", rows.tokens() / seconds, Progress.duration(seconds));
            }
        }
        return 0;
    }
}
