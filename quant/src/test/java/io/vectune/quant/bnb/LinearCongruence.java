package io.vectune.quant.bnb;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;

/// The weights that the recorded hashes belong to: exact in f32, from a generator that is easy to write in any language.
///
///     s = s * 1664525 + 1013904223 mod 2^32, from 12345;      w = ((s >> 8) / 2^24 - 0.5) / 8
final class LinearCongruence {
    private LinearCongruence() {}

    static Tensor weight(Arena arena, int rows, int columns) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, rows, columns);
        int state = 12345;
        for (long i = 0; i < (long) rows * columns; i++) {
            state = state * 1664525 + 1013904223;
            tensor.setFloat(i, (float) (((state >>> 8) / 16777216.0 - 0.5) * 0.125));
        }
        return tensor;
    }
}
