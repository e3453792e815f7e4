package io.vectune.cli;

import io.vectune.models.flux.FlowMatching;
import io.vectune.models.flux.FluxConfig;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// The options of `vectune tune` that only Flux transformers have.
final class FluxTuneOptions {
    /// Names of these options.
    static final List<String> NAMES = List.of("--guidance", "--noise");

    /// Names of options that only decoders have.
    static final List<String> OF_DECODERS =
            List.of(
                    "--max-length",
                    "--append-eos",
                    "--calibration",
                    "--calibration-opposite",
                    "--gradient-checkpointing");

    private static final float GUIDANCE = 3.5f;

    @Option(
            names = "--guidance",
            paramLabel = "X",
            description = "Flux: guidance in training, for models that take it (default: " + GUIDANCE + ").")
    private @Nullable Float guidance;

    @Option(
            names = "--noise",
            paramLabel = "KIND",
            defaultValue = "uniform",
            description = "Flux: how noise levels are drawn, uniform or logit_normal (default: ${DEFAULT-VALUE}).")
    @SuppressWarnings("NullAway.Init")
    private FlowMatching.Sampling noise;

    /// The task that a transformer is trained on.
    FlowMatching task(FluxConfig config, long seed) {
        Float given = guidance;
        if (!config.guidanceEmbeds()) {
            if (given != null) {
                throw new UsageException(
                        "--guidance: expected none, as the model has no guidance embedding, found " + given);
            }
            return new FlowMatching(noise, null, seed);
        }
        if (given != null && !Float.isFinite(given)) {
            throw new UsageException("--guidance: expected a finite number, found " + given);
        }
        return new FlowMatching(noise, given == null ? (Float) GUIDANCE : given, seed);
    }
}
