package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FluxGoldenTest {
    private static final double TOLERANCE = 1e-4;

    @ParameterizedTest
    @ValueSource(strings = {"dev", "schnell"})
    void predictsAsDiffusers(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            FluxModel model = FluxFiles.model(name, arena);
            TensorSource golden = FluxFiles.golden(name + "-plain.safetensors", arena);
            FluxPass pass = new FluxPass(model, Map.of(), compute);
            for (int sample = 0; sample < 2; sample++) {
                FluxInputs inputs = FluxFiles.inputs(golden, sample, arena);
                Matrix expected = FluxFiles.matrix(golden, "prediction", sample, arena);
                Matrix prediction = Matrix.allocate(arena, expected.rows(), expected.columns());
                pass.predict(inputs, prediction);
                assertThat(TestModels.relativeError(prediction.toArray(), expected.toArray())).isLessThan(TOLERANCE);
            }
        }
    }
}
