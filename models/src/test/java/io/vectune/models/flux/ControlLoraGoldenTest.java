package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.models.TestModels;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.ExpandedWeight;
import java.lang.foreign.Arena;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ControlLoraGoldenTest {
    private static final double TOLERANCE = 1e-4;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private FluxModel base;

    @BeforeEach
    void load() {
        base = FluxFiles.model("dev", arena);
    }

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private FluxAdapter adapter(String file) {
        return FluxAdapterFile.read(FluxFiles.path(file + ".safetensors"), base.config(), arena);
    }

    private double error(FluxAdapters adapters, TensorSource inputs, TensorSource golden, String result) {
        double worst = 0;
        FluxPass pass = new FluxPass(adapters.model(), adapters.layers(), compute);
        for (int sample = 0; sample < 2; sample++) {
            Matrix expected = FluxFiles.matrix(golden, result, sample, arena);
            Matrix prediction = Matrix.allocate(arena, expected.rows(), expected.columns());
            pass.predict(FluxFiles.inputs(inputs, sample, arena), prediction);
            worst = Math.max(worst, TestModels.relativeError(prediction.toArray(), expected.toArray()));
        }
        return worst;
    }

    @ParameterizedTest
    @ValueSource(strings = {"control", "control-bfl"})
    void predictsAsDiffusersAtAnyScaleInEitherStyle(String file) {
        TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
        FluxAdapters adapters = FluxAdapters.none(base).with(adapter(file).named("control"), 1);
        assertThat(adapters.model().config().inChannels()).isEqualTo(2 * base.config().inChannels());
        assertThat(error(adapters, golden, golden, "control_1.0")).isLessThan(TOLERANCE);
        adapters.setWeight("control", 0.85f);
        assertThat(error(adapters, golden, golden, "control_0.85")).isLessThan(TOLERANCE);
        adapters.setWeight("control", 0);
        assertThat(error(adapters, golden, golden, "control_0.0")).isLessThan(TOLERANCE);
    }

    @Test
    void controlAndRegularAdaptersComposeInAnyOrder() {
        TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
        FluxAdapter control = adapter("control");
        FluxAdapter regular = adapter("regular");
        assertThat(regular.inChannels()).isEqualTo(base.config().inChannels());
        FluxAdapters controlFirst = FluxAdapters.none(base).with(control, 0.85f).with(regular, 0.6f);
        FluxAdapters regularFirst = FluxAdapters.none(base).with(regular, 0.6f).with(control, 0.85f);
        assertThat(error(controlFirst, golden, golden, "control_0.85_regular_0.6")).isLessThan(TOLERANCE);
        assertThat(error(regularFirst, golden, golden, "control_0.85_regular_0.6")).isLessThan(TOLERANCE);
        controlFirst.setWeight("control", 0);
        controlFirst.setWeight("regular", 1);
        assertThat(error(controlFirst, golden, golden, "regular_wide")).isLessThan(TOLERANCE);
    }

    @Test
    void unloadingGivesTheOriginalObjectAndItsOutput() {
        TensorSource plain = FluxFiles.golden("dev-plain.safetensors", arena);
        TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
        FluxAdapters adapters = FluxAdapters.none(base).with(adapter("control"), 1).with(adapter("regular"), 1);
        FluxAdapters unloaded = adapters.without("control").without("regular");
        assertThat(adapters.base()).isSameAs(base);
        assertThat(unloaded.model().config()).isEqualTo(base.config());
        assertThat(unloaded.model().xEmbedder().weight()).isSameAs(base.xEmbedder().weight());
        assertThat(error(unloaded, plain, golden, "unloaded")).isLessThan(TOLERANCE);
        assertThat(((ExpandedWeight) adapters.model().xEmbedder().weight()).base()).isSameAs(base.xEmbedder().weight());
    }

    @Test
    void theWidenedInputHoldsTheBitsOfTheReference() {
        TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
        FluxModel wide = base.widened(2 * base.config().inChannels());
        float[] expected = TestModels.floats(golden, "x_embedder");
        float[] decoded = new float[expected.length];
        int columns = wide.config().inChannels();
        wide.xEmbedder().weight().decode(0, wide.config().innerDim(), 0, columns, decoded, 0, columns);
        assertThat(decoded).isEqualTo(expected);
    }

    @ParameterizedTest
    @ValueSource(strings = {"regular", "kohya", "comfy", "xlabs"})
    void everyStyleOfKeysGivesTheOutputOfDiffusers(String style) {
        TensorSource plain = FluxFiles.golden("dev-plain.safetensors", arena);
        TensorSource golden = FluxFiles.golden("dev-styles.safetensors", arena);
        FluxAdapters adapters = FluxAdapters.none(base).with(adapter(style), 1);
        assertThat(error(adapters, plain, golden, style)).isLessThan(TOLERANCE);
    }

    @Test
    void theStyleOfPeftHoldsTheSameAdapter() {
        TensorSource plain = FluxFiles.golden("dev-plain.safetensors", arena);
        TensorSource golden = FluxFiles.golden("dev-styles.safetensors", arena);
        FluxAdapters adapters = FluxAdapters.none(base).with(adapter("regular-peft"), 1);
        assertThat(error(adapters, plain, golden, "regular")).isLessThan(TOLERANCE);
    }

    @ParameterizedTest
    @CsvSource({
        "control, diffusers",
        "control-bfl, original Control LoRA",
        "kohya, kohya",
        "comfy, ComfyUI",
        "xlabs, xlabs",
        "regular-peft, PEFT"
    })
    void namesTheStyle(String file, String style) {
        assertThat(adapter(file).style()).isEqualTo(style);
    }

    @Test
    void fusedLayersShareTheirInputFactor() {
        Map<String, LowRankUpdate> updates = adapter("control-bfl").updates();
        LowRankUpdate query = update(updates, "single_transformer_blocks.0.attn.to_q");
        LowRankUpdate mlp = update(updates, "single_transformer_blocks.0.proj_mlp");
        assertThat(query.a()).isSameAs(mlp.a());
        assertThat(adapter("control-bfl").parameters()).isLessThan(adapter("control").parameters());
        assertThat(update(adapter("kohya").updates(), "transformer_blocks.0.attn.to_q").scale())
                .isCloseTo(0.5f / 3, within(1e-7f));
    }

    private static LowRankUpdate update(Map<String, LowRankUpdate> updates, String layer) {
        return Objects.requireNonNull(updates.get(layer), layer);
    }
}
