package io.vectune.adapters.file;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.WeightFormats;
import io.vectune.quant.hqq.HqqModelFile;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// QDoRA over a layer of 3-bit codes, ten an int32, whose scales and zero points are 8-bit codes themselves, against the
/// formulas of the reference notebook:
///
///     y = m alpha / |W + BA| ⊙ (x Wᵀ + (x Aᵀ) Bᵀ)
///
/// That is DoRA with scaling 1 and the magnitude m alpha.
class QdoraGoldenTest {
    private static final Path DATA = Path.of(System.getProperty("vectune.testData"), "adapters", "qdora");

    // Both sides compute in f32 over at most 128 terms.
    private static final double RTOL = 2e-6;

    private static QuantizedWeight load(String name, Arena arena) {
        HqqModelFile file = HqqModelFile.open(DATA.resolve(name + ".pt"), arena);
        return WeightFormats.of(file, GoldenRun.MODULE)
                .orElseThrow()
                .load(file, GoldenRun.MODULE, LoadContext.of(arena));
    }

    private static float[] scaled(Matrix matrix, double factor) {
        float[] values = matrix.toArray();
        for (int i = 0; i < values.length; i++) {
            values[i] *= (float) factor;
        }
        return values;
    }

    @ParameterizedTest
    @ValueSource(strings = {"start", "trained", "alpha"})
    void forwardAndBackwardAreTheNotebooks(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden = SafetensorsFile.open(DATA.resolve(name + ".safetensors"), arena);
            QuantizedWeight weight = load(name, arena);
            Matrix dense = golden.tensor("weight").asMatrix();
            float[] decoded = new float[dense.rows() * dense.columns()];
            weight.decode(0, dense.rows(), 0, dense.columns(), decoded, 0, dense.columns());
            assertThat(decoded).containsExactly(dense.toArray());

            LayerSite site = new LayerSite(GoldenRun.MODULE, weight, null);
            double alpha = Double.parseDouble(Objects.requireNonNull(golden.metadata().get("alpha")));
            Path parameters = DATA.resolve(name + ".adapter.safetensors");
            try (AdapterSet set = AdapterFiles.read(parameters, List.of(site), compute)) {
                Adapter adapter = Objects.requireNonNull(set.adapter(GoldenRun.MODULE));
                assertThat(adapter.kind()).isEqualTo("dora");
                Matrix magnitude = parameter(adapter, "magnitude").values();
                for (int o = 0; o < magnitude.columns(); o++) {
                    magnitude.set(0, o, (float) (alpha * magnitude.get(0, o)));
                }
                adapter.refresh(compute, weight);
                check(golden, site, adapter, alpha, compute, arena);
            }
        }
    }

    private static void check(
            SafetensorsFile golden, LayerSite site, Adapter adapter, double alpha, Compute compute, Arena arena) {
        Matrix x = golden.tensor("x").asMatrix();
        Matrix gradOutput = golden.tensor("gradOutput").asMatrix();
        Matrix saved = Matrix.allocate(arena, 1, Math.toIntExact(adapter.savedFloats(x.rows())));
        AdapterCall call = new AdapterCall(compute, site.weight(), null, x, saved, CallOptions.INFERENCE);
        Matrix y = Matrix.allocate(arena, x.rows(), adapter.outFeatures());
        adapter.forward(call, y);
        close("y", y.toArray(), golden, "y");
        List<Matrix> gradients = new ArrayList<>();
        adapter.trainableParameters()
                .forEach(each -> gradients.add(Matrix.allocate(arena, each.values().rows(), each.values().columns())));
        Matrix gradInput = Matrix.allocate(arena, x.rows(), adapter.inFeatures());
        adapter.backward(call, gradOutput, gradInput, gradients);
        close("gradient of x", gradInput.toArray(), golden, "gradient.x");
        close("gradient of A", gradients.get(0).toArray(), golden, "gradient.a");
        close("gradient of B", gradients.get(1).toArray(), golden, "gradient.b");
        close("gradient of m", scaled(gradients.get(2), alpha), golden, "gradient.m");
    }

    private static void close(String what, float[] found, SafetensorsFile golden, String name) {
        GoldenRun.close(what, found, GoldenRun.row(golden.tensor(name)).toArray(), RTOL);
    }

    private static AdapterParameter parameter(Adapter adapter, String name) {
        return adapter.parameters().stream().filter(each -> each.name().equals(name)).findFirst().orElseThrow();
    }

    @Test
    void theStartHasTheNormsOfTheCodesAndChangesNothing() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden = SafetensorsFile.open(DATA.resolve("start.safetensors"), arena);
            LayerSite site = new LayerSite(GoldenRun.MODULE, load("start", arena), null);
            AdapterConfig config =
                    AdapterConfig.of("dora", Map.of("r", 2, "lora_alpha", 2, "target_modules", List.of("q_proj")));
            try (AdapterSet set = AdapterSet.create(config, List.of(site), compute, 1)) {
                Adapter adapter = Objects.requireNonNull(set.adapter(GoldenRun.MODULE));
                close("m", parameter(adapter, "magnitude").values().toArray(), golden, "start.m");
                Matrix x = golden.tensor("x").asMatrix();
                Matrix saved = Matrix.allocate(arena, 1, Math.toIntExact(adapter.savedFloats(x.rows())));
                Matrix y = Matrix.allocate(arena, x.rows(), adapter.outFeatures());
                adapter.forward(new AdapterCall(compute, site.weight(), null, x, saved, CallOptions.INFERENCE), y);
                close("y", y.toArray(), golden, "base");
            }
        }
    }
}
