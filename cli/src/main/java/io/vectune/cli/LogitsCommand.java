package io.vectune.cli;

import io.vectune.models.decoder.DecoderSession;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune logits`: what the model predicts after each token, as a file that other programs read.
@Command(
        name = "logits",
        description = "Write the logits of given tokens to a safetensors file: \"logits\" [T, vocab], f32.")
final class LogitsCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private QuantizeOnLoad quantize;

    @Option(names = "--tokens", required = true, paramLabel = "IDS", description = "Token ids: 1,2,3")
    @SuppressWarnings("NullAway.Init")
    private String tokens;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Override
    public Integer call() {
        host.inputs().keepApart("--out", out.path());
        out.checkFile();
        try (Host opened = host.open(quantize.quantizer());
                Arena arena = Arena.ofShared()) {
            int vocabSize = opened.model().config().vocabSize();
            int[] ids = TokenList.parse("--tokens", tokens, vocabSize);
            int positions = opened.model().config().maxPositionEmbeddings();
            if (ids.length > positions) {
                Output.of(spec)
                        .note(
                                "warning: %d tokens, but the model was made for %d positions; logits beyond are poor",
                                ids.length, positions);
            }
            Tensor logits = Tensor.allocate(arena, DType.F32, ids.length, vocabSize);
            try (DecoderSession session = opened.session(ids.length)) {
                session.appendAll(ids, logits.asMatrix());
            }
            SafetensorsWriter.write(out.path(), Map.of("logits", logits), Map.of());
        }
        spec.commandLine().getErr().println("wrote " + out.path());
        return 0;
    }
}
