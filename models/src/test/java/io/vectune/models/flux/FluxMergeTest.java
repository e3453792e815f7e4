package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.models.checkpoint.FluxMerge;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FluxMergeTest {
    @TempDir private Path folder;

    @Test
    void mergedWeightsAreThoseOfDiffusersAndPredictTheSame() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            FluxModel base = FluxFiles.model("dev", arena);
            FluxAdapters adapters = FluxAdapters.none(base);
            for (String file : new String[] {"control", "regular"}) {
                FluxAdapter adapter = FluxAdapterFile.read(FluxFiles.path(file + ".safetensors"), base.config(), arena);
                adapters = adapters.with(adapter, file.equals("control") ? 0.85f : 0.6f);
            }
            Path out = folder.resolve("merged");
            FluxMerge.Result result =
                    FluxMerge.directory(
                            FluxFiles.path("dev"),
                            out,
                            false,
                            adapters,
                            null,
                            FluxMerge.QuantizedChanges.DENSE,
                            compute);
            assertThat(result.changed()).isEqualTo(base.linears().size());

            TensorSource fused = FluxFiles.golden("fused.safetensors", arena);
            TensorSource merged = SafetensorsCheckpoint.open(out, arena);
            for (String name : fused.names()) {
                assertThat(merged.tensor(name).shape()).as(name).isEqualTo(fused.tensor(name).shape());
                assertThat(TestModels.relativeError(TestModels.floats(merged, name), TestModels.floats(fused, name)))
                        .as(name)
                        .isLessThan(1e-6);
            }
            TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
            FluxPass pass = new FluxPass(FluxLoader.load(out, arena), Map.of(), compute);
            Matrix expected = FluxFiles.matrix(golden, "control_0.85_regular_0.6", 0, arena);
            Matrix prediction = Matrix.allocate(arena, expected.rows(), expected.columns());
            pass.predict(FluxFiles.inputs(golden, 0, arena), prediction);
            assertThat(TestModels.relativeError(prediction.toArray(), expected.toArray())).isLessThan(1e-4);
        }
    }
}
