package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.transform.QuantizedLinear;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Quantized transformers with a Control LoRA, against diffusers and bitsandbytes, which make the wide input dense.
class QuantizedFluxGoldenTest {
    // Both decode the same codes; what differs is the order of sums in f32.
    private static final double TOLERANCE = 1e-4;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final FluxModel dense = FluxFiles.model("dev", arena);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private FluxModel quantized(String method) {
        QuantizeOptions options =
                QuantizeOptions.of(method.replace("-nested", "")).withDoubleQuant(method.endsWith("-nested"));
        WeightQuantizer quantizer = Quantizers.of(options);
        return dense.withLinears(linear -> QuantizedLinear.of(linear, quantizer, compute, arena));
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
    @ValueSource(strings = {"nf4", "nf4-nested", "fp4", "int8"})
    void predictsAsTheLibrariesWithTheirDenseInput(String method) {
        FluxModel base = quantized(method);
        TensorSource golden = FluxFiles.golden("quantized.safetensors", arena);
        TensorSource plain = FluxFiles.golden("dev-plain.safetensors", arena);
        TensorSource wide = FluxFiles.golden("dev-control.safetensors", arena);
        FluxAdapters none = FluxAdapters.none(base);
        assertThat(error(none, plain, golden, method + ".plain")).isLessThan(TOLERANCE);
        FluxAdapter control = FluxAdapterFile.read(FluxFiles.path("control.safetensors"), base.config(), arena);
        FluxAdapters adapters = none.with(control.named("control"), 1);
        assertThat(error(adapters, wide, golden, method + ".control_1.0")).isLessThan(TOLERANCE);
        adapters.setWeight("control", 0.85f);
        assertThat(error(adapters, wide, golden, method + ".control_0.85")).isLessThan(TOLERANCE);
        assertThat(error(adapters.without("control"), plain, golden, method + ".plain")).isLessThan(TOLERANCE);
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "nf4-nested", "fp4", "int8", "hqq"})
    void wideningTakesNoMemoryAndUnloadingGivesTheSameObject(String method) {
        FluxModel base = quantized(method);
        FluxAdapter control = FluxAdapterFile.read(FluxFiles.path("control.safetensors"), base.config(), arena);
        FluxAdapters adapters = FluxAdapters.none(base).with(control.named("control"), 1);
        Weight wide = adapters.model().xEmbedder().weight();
        assertThat(wide.inFeatures()).isEqualTo(2 * base.config().inChannels());
        assertThat(adapters.model().storageBytes()).isEqualTo(base.storageBytes());
        assertThat(((ExpandedWeight) wide).base())
                .isSameAs(base.xEmbedder().weight())
                .isInstanceOf(QuantizedWeight.class);
        assertThat(adapters.base()).isSameAs(base);
        assertThat(adapters.without("control").model().xEmbedder()).isSameAs(base.xEmbedder());
        assertThat(base.storageBytes()).isLessThan(dense.storageBytes() * (method.equals("int8") ? 30 : 25) / 100);
    }
}
