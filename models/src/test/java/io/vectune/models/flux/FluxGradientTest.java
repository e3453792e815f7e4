package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.Lora;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class FluxGradientTest {
    private static final int RANK = 3;

    /// The adapter of a file as a trainable one.
    private static AdapterSet trainable(FluxModel model, FluxAdapter adapter, Compute compute) {
        List<LayerSite> sites =
                model.sites().stream().filter(site -> adapter.updates().containsKey(site.name())).toList();
        AdapterConfig config =
                AdapterConfig.of(
                        "lora",
                        Map.of(
                                "r",
                                RANK,
                                "lora_alpha",
                                RANK,
                                "lora_bias",
                                true,
                                "rank_pattern",
                                Map.of("^proj_out", 2),
                                "alpha_pattern",
                                Map.of("^proj_out", 2),
                                "target_modules",
                                "all-linear"));
        AdapterSet set = AdapterSet.create(config, sites, compute, 1);
        adapter.updates()
                .forEach((module, update) -> {
                    if (set.adapter(module) instanceof Lora lora) {
                        lora.loraA().copyFrom(update.a());
                        lora.loraB().copyFrom(update.b());
                        Matrix bias = update.bias();
                        if (bias != null) {
                            lora.parameters().getLast().values().copyFrom(bias);
                        }
                    }
                });
        return set;
    }

    @Test
    void gradientsOfTheFlowMatchingLossAreThoseOfTorch() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            FluxModel base = FluxFiles.model("dev", arena);
            TensorSource golden = FluxFiles.golden("dev-gradients.safetensors", arena);
            FluxAdapter control = FluxAdapterFile.read(FluxFiles.path("control.safetensors"), base.config(), arena);
            FluxModel model = FluxAdapters.none(base).with(control, 1).model();
            try (AdapterSet set = trainable(model, control, compute);
                    AdapterGradients gradients = new AdapterGradients(set.adapters())) {
                FluxPass pass = new FluxPass(model, set.adapters(), compute);
                int channels = base.config().inChannels();
                double loss = 0;
                for (int sample = 0; sample < 2; sample++) {
                    Matrix latents = FluxFiles.matrix(golden, "latents", sample, arena);
                    Matrix noise = FluxFiles.matrix(golden, "noise", sample, arena);
                    float sigma = golden.tensor("timestep").getFloat(sample);
                    Matrix input = Matrix.allocate(arena, latents.rows(), 2 * channels);
                    input.columns(channels, 2 * channels)
                            .copyFrom(FluxFiles.matrix(golden, "condition", sample, arena));
                    Matrix target = Matrix.allocate(arena, latents.rows(), channels);
                    for (int row = 0; row < latents.rows(); row++) {
                        for (int column = 0; column < channels; column++) {
                            float clean = latents.get(row, column);
                            float noisy = noise.get(row, column);
                            input.set(row, column, (1 - sigma) * clean + sigma * noisy);
                            target.set(row, column, noisy - clean);
                        }
                    }
                    double factor = 1.0 / (2 * latents.rows() * channels);
                    FluxInputs inputs = FluxFiles.inputs(golden, sample, input, arena);
                    loss += pass.lossAndGradients(inputs, target, factor, 5, gradients);
                }
                double expectedLoss = golden.tensor("loss").getFloat(0);
                assertThat(loss).isCloseTo(expectedLoss, within(1e-5 * expectedLoss));
                List<String> keys = List.of(".lora_A.weight", ".lora_B.weight", ".lora_B.bias");
                int compared = 0;
                for (String module : set.adapters().keySet()) {
                    for (int index = 0; index < keys.size(); index++) {
                        float[] expected = TestModels.floats(golden, "grad." + module + keys.get(index));
                        float[] actual = gradients.of(module).get(index).toArray();
                        assertThat(TestModels.relativeError(actual, expected))
                                .as(module + keys.get(index))
                                .isLessThan(1e-4);
                        compared++;
                    }
                }
                assertThat(compared).isEqualTo(3 * control.updates().size());
            }
        }
    }
}
