package io.vectune.models;

import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.load.ModelLoader;
import io.vectune.quant.LoadContext;
import io.vectune.quant.WeightFormats;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// The models and goldens of test-data.
public final class TestModels {
    private TestModels() {}

    public static Path data() {
        return Path.of(System.getProperty("vectune.testData", "../test-data"));
    }

    /// The directory of a model: `tiny-llama`, or one of test-data/models.
    public static Path directory(String name) {
        return name.equals("tiny-llama") ? data().resolve(name) : data().resolve("models").resolve(name);
    }

    public static DecoderModel load(String name, Arena arena) {
        return ModelLoader.load(directory(name), arena).decoder();
    }

    /// A model by the name that the goldens of peft use for it: also `tiny-llama-hqq4`, the linear layers of the tiny
    /// model quantized by hqq.
    public static DecoderModel loadBase(String name, Arena arena) {
        if (!name.equals("tiny-llama-hqq4")) {
            return load(name, arena);
        }
        TensorSource quantized = golden("peft/bases/tiny-llama-hqq4.safetensors", arena);
        return load("tiny-llama", arena)
                .withLinears(linear ->
                        WeightFormats.of(quantized, linear.name())
                                .map(format -> format.load(quantized, linear.name(), LoadContext.of(arena)))
                                .map(linear::withWeight)
                                .orElse(linear));
    }

    public static TensorSource golden(String file, Arena arena) {
        return SafetensorsFile.open(data().resolve(file), arena);
    }

    public static int[] ids(TensorSource source, String name) {
        Tensor tensor = source.tensor(name);
        int[] ids = new int[Math.toIntExact(tensor.elements())];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = Math.toIntExact(tensor.segment().get(Tensor.LONG, 8L * i));
        }
        return ids;
    }

    public static float[] floats(TensorSource source, String name) {
        Tensor tensor = source.tensor(name);
        float[] values = new float[Math.toIntExact(tensor.elements())];
        for (int i = 0; i < values.length; i++) {
            values[i] = tensor.getFloat(i);
        }
        return values;
    }

    /// Rows `[from, from + rows)` of the tensors batch_*, padding cut off.
    public static SequenceBatch batch(TensorSource source, int from, int rows) {
        Tensor shape = source.tensor("batch_input_ids");
        int length = Math.toIntExact(shape.size(shape.axes() - 1));
        int[] ids = ids(source, "batch_input_ids");
        int[] mask = ids(source, "batch_attention_mask");
        int[] labels = ids(source, "batch_labels");
        List<int[]> tokenRows = new ArrayList<>();
        List<int[]> labelRows = new ArrayList<>();
        for (int row = from; row < from + rows; row++) {
            int start = row * length;
            int used = Arrays.stream(mask, start, start + length).sum();
            tokenRows.add(Arrays.copyOfRange(ids, start, start + used));
            labelRows.add(Arrays.copyOfRange(labels, start, start + used));
        }
        return SequenceBatch.of(tokenRows, labelRows);
    }

    /// Index of the largest value, the first of equals.
    public static int argmax(Matrix row) {
        int best = 0;
        for (int i = 1; i < row.columns(); i++) {
            if (row.get(0, i) > row.get(0, best)) {
                best = i;
            }
        }
        return best;
    }

    /// max |actual - expected| / max |expected|.
    ///
    /// @throws AssertionError if a value is not finite: a comparison with NaN says nothing
    public static double relativeError(float[] actual, float[] expected) {
        if (actual.length != expected.length) {
            throw new AssertionError("lengths differ: " + actual.length + " and " + expected.length);
        }
        double largest = 0;
        double error = 0;
        for (int i = 0; i < expected.length; i++) {
            if (!Float.isFinite(actual[i]) || !Float.isFinite(expected[i])) {
                throw new AssertionError("value " + i + ": expected " + expected[i] + ", found " + actual[i]);
            }
            largest = Math.max(largest, Math.abs((double) expected[i]));
            error = Math.max(error, Math.abs((double) actual[i] - expected[i]));
        }
        return error / largest;
    }
}
