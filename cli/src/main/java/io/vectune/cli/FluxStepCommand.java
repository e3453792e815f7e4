package io.vectune.cli;

import io.vectune.models.flux.FluxAdapters;
import io.vectune.models.flux.FluxInputs;
import io.vectune.models.flux.FluxPass;
import io.vectune.models.flux.file.FluxInputsFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune flux step`: one denoising evaluation.
@Command(
        name = "step",
        description = {
            "One denoising evaluation: the prediction for given latents, text embeddings and time.",
            "The inputs have the names and shapes of diffusers' forward: hidden_states, encoder_hidden_states,",
            "pooled_projections, timestep (0 to 1), guidance, img_ids, txt_ids; the result is \"prediction\", f32.",
            "Adapters of diffusers, PEFT, kohya, ComfyUI, xlabs and the original releases are read; with a Control LoRA",
            "hidden_states has the packed control latents behind the latents."
        })
final class FluxStepCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Option(
            names = "--inputs",
            required = true,
            paramLabel = "FILE",
            description = "The safetensors file with the inputs.")
    @SuppressWarnings("NullAway.Init")
    private Path inputs;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Override
    public Integer call() {
        host.inputs(inputs).keepApart("--out", out.path());
        out.checkFile();
        try (FluxHost opened = host.openFlux()) {
            opened.printIgnored(Output.of(spec));
            FluxAdapters active = opened.adapters();
            List<FluxInputs> samples = FluxInputsFile.read(inputs, active.model().config(), opened.arena());
            if (samples.isEmpty()) {
                throw new UsageException("--inputs " + inputs + ": expected at least one sample, found none");
            }
            int tokens = samples.getFirst().hiddenStates().rows();
            int channels = active.model().config().outChannels();
            Tensor prediction = Tensor.allocate(opened.arena(), DType.F32, samples.size(), tokens, channels);
            Matrix rows = prediction.asMatrix();
            FluxPass pass = new FluxPass(active.model(), active.layers(), opened.compute());
            long start = System.nanoTime();
            for (int sample = 0; sample < samples.size(); sample++) {
                FluxInputs given = samples.get(sample);
                if (given.timestep() > 1) {
                    Output.of(spec)
                            .note(
                                    "timestep %s of sample %d: the models are trained on 0 to 1; diffusers' pipelines divide the"
                                            + " scheduler's timestep by 1000",
                                    given.timestep(), sample);
                }
                Matrix predicted = rows.rows(sample * tokens, (sample + 1) * tokens);
                pass.predict(given, predicted);
                requireFinite(sample, predicted);
            }
            double seconds = (System.nanoTime() - start) * 1e-9;
            SafetensorsWriter.write(out.path(), Map.of("prediction", prediction), Map.of());
            Output.of(spec)
                    .note(
                            "%d samples of %d image tokens in %.2f s; wrote %s",
                            samples.size(), tokens, seconds, out.path());
        }
        return 0;
    }

    private void requireFinite(int sample, Matrix predicted) {
        for (float value : predicted.toArray()) {
            if (!Float.isFinite(value)) {
                throw new VectuneException(
                        "prediction of sample "
                                + sample
                                + ": expected finite values, found "
                                + value
                                + "; a weight of "
                                + host.model()
                                + " or of an adapter is not finite, or adapter weights or inputs are too large");
            }
        }
    }
}
