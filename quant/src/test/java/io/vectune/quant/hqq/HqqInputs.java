package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;

/// The weights of the goldens: the formula of `inputs` in test-data/hqq/make_goldens.py.
final class HqqInputs {
    private HqqInputs() {}

    static float[] values(int rows, int columns, long seed, double sigma, String special) {
        float[] values = new float[rows * columns];
        for (int i = 0; i < values.length; i++) {
            long x = ((seed << 32) + i + 1) * 0x9E3779B97F4A7C15L;
            x = (x ^ (x >>> 30)) * 0xBF58476D1CE4E5B9L;
            x = (x ^ (x >>> 27)) * 0x94D049BB133111EBL;
            x ^= x >>> 31;
            long parts = (x & 0xFFFF) + ((x >>> 16) & 0xFFFF) + ((x >>> 32) & 0xFFFF) + (x >>> 48);
            values[i] = (float) ((parts - 131070) * (sigma / 37837.0));
        }
        for (int i = 0; i < values.length; i++) {
            int row = i / columns;
            float value = values[i];
            values[i] =
                    switch (special) {
                        case "none" -> value;
                        case "constant" -> row % 4 == 0 ? 0.125f : row % 4 == 1 ? -3f : value;
                        case "zeros" -> row % 3 == 0 ? 0f : value;
                        case "outliers" -> i % 97 == 0 ? value * 50f : value;
                        case "negative" -> -Math.abs(value) - 0.01f;
                        case "positive" -> Math.abs(value) + 0.01f;
                        case "signed-zeros" -> i % 2 == 0 ? 0f : i % 4 == 1 ? -0f : value;
                        default -> throw new IllegalArgumentException(special);
                    };
        }
        return values;
    }

    static Tensor tensor(Arena arena, DType type, int rows, int columns, float... values) {
        Tensor tensor = Tensor.allocate(arena, type, rows, columns);
        for (int i = 0; i < values.length; i++) {
            FloatCast.set(tensor, i, values[i]);
        }
        return tensor;
    }

    static Tensor gaussian(Arena arena, int rows, int columns, long seed, double sigma) {
        return tensor(arena, DType.F32, rows, columns, values(rows, columns, seed, sigma, "none"));
    }
}
