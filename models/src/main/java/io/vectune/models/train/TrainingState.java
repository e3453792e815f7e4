package io.vectune.models.train;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/// A checkpoint of a run: one safetensors file with the adapters' parameters and the optimizer's moments; the step and
/// the settings are its metadata. The position in the data and the dropout masks follow from the step.
final class TrainingState {
    private static final String STEP = "vectune.step";
    private static final String SETTINGS = "vectune.settings";

    private TrainingState() {}

    static void write(Path file, Map<String, Matrix> state, int step, RunSettings settings) {
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        state.forEach((name, matrix) -> tensors.put(name, tensor(matrix)));
        SafetensorsWriter.write(file, tensors, Map.of(STEP, Integer.toString(step), SETTINGS, settings.text()));
    }

    private static Tensor tensor(Matrix matrix) {
        long bytes = 4L * matrix.rows() * matrix.columns();
        return Tensor.of(
                DType.F32,
                new long[] {matrix.rows(), matrix.columns()},
                matrix.segment().asSlice(matrix.offset(), bytes));
    }

    /// Fills the matrices.
    ///
    /// @return the number of steps that were done
    static int read(Path file, Map<String, Matrix> state, RunSettings settings) {
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile source = SafetensorsFile.open(file, arena);
            String step = source.metadata().get(STEP);
            String found = source.metadata().get(SETTINGS);
            if (step == null || found == null) {
                throw new FileFormatException(file + ": expected a checkpoint of a tuning run, found another file");
            }
            settings.requireSame(found, file.toString());
            requireNames(file, source.names(), state.keySet());
            for (Map.Entry<String, Matrix> entry : state.entrySet()) {
                Tensor tensor = source.tensor(entry.getKey());
                Matrix target = entry.getValue();
                long[] shape = {target.rows(), target.columns()};
                if (tensor.dtype() != DType.F32 || !Arrays.equals(tensor.shape(), shape)) {
                    throw new FileFormatException(
                            file
                                    + ": "
                                    + entry.getKey()
                                    + ": expected F32"
                                    + Arrays.toString(shape)
                                    + ", found "
                                    + tensor);
                }
                target.copyFrom(tensor.asMatrix());
            }
            return Integer.parseInt(step);
        } catch (NumberFormatException broken) {
            throw new FileFormatException(file + ": the number of steps is not readable", broken);
        }
    }

    private static void requireNames(Path file, Set<String> found, Set<String> expected) {
        for (String name : expected) {
            if (!found.contains(name)) {
                throw new VectuneException(
                        file
                                + ": the checkpoint is of another adapter: expected the tensor "
                                + name
                                + ", found none; resume with the adapter of that run");
            }
        }
        for (String name : found) {
            if (!expected.contains(name)) {
                throw new VectuneException(
                        file
                                + ": the checkpoint is of another adapter: expected "
                                + expected.size()
                                + " tensors, found also "
                                + name
                                + "; resume with the adapter of that run");
            }
        }
    }
}
