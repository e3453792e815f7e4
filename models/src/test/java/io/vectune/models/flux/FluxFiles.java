package io.vectune.models.flux;

import io.vectune.models.TestModels;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;

/// Models, inputs and results of test-data/flux.
final class FluxFiles {
    private FluxFiles() {}

    static Path path(String name) {
        return TestModels.data().resolve("flux").resolve(name);
    }

    static FluxModel model(String name, Arena arena) {
        return FluxLoader.load(path(name), arena);
    }

    static TensorSource golden(String name, Arena arena) {
        return TestModels.golden("flux/" + name, arena);
    }

    /// A tensor (rows, columns) as it is, or one sample of (samples, rows, columns).
    static Matrix matrix(TensorSource source, String name, int sample, Arena arena) {
        Tensor tensor = source.tensor(name);
        int columns = Math.toIntExact(tensor.size(tensor.axes() - 1));
        int rows = Math.toIntExact(tensor.axes() == 3 ? tensor.size(1) : 1);
        float[] values = TestModels.floats(source, name);
        int from = sample * rows * columns;
        return Matrix.copyOf(arena, rows, columns, Arrays.copyOfRange(values, from, from + rows * columns));
    }

    private static Matrix ids(TensorSource source, String name, Arena arena) {
        Tensor tensor = source.tensor(name);
        return Matrix.copyOf(
                arena,
                Math.toIntExact(tensor.size(0)),
                Math.toIntExact(tensor.size(1)),
                TestModels.floats(source, name));
    }

    static FluxInputs inputs(TensorSource source, int sample, Matrix hiddenStates, Arena arena) {
        return new FluxInputs(
                hiddenStates,
                matrix(source, "encoder_hidden_states", sample, arena),
                matrix(source, "pooled_projections", sample, arena),
                source.tensor("timestep").getFloat(sample),
                source.contains("guidance") ? source.tensor("guidance").getFloat(sample) : null,
                ids(source, "img_ids", arena),
                ids(source, "txt_ids", arena));
    }

    static FluxInputs inputs(TensorSource source, int sample, Arena arena) {
        return inputs(source, sample, matrix(source, "hidden_states", sample, arena), arena);
    }
}
