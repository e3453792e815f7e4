package io.vectune.models.bench;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.gguf.GgufBlockWeight;
import io.vectune.quant.gguf.GgufType;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.SplittableRandom;

/// Weights and activations of uniform random numbers in [-1, 1).
final class RandomWeights {
    private RandomWeights() {}

    /// @param format `f32`, `bf16`, `hqq4` (group 64, axis 1), `nf4`, `fp4`, `int8`, or a GGUF block type such as
    ///   `q4_0`
    static Weight weight(Compute compute, Arena arena, String format, int outFeatures, int inFeatures) {
        return switch (format) {
            case "f32" -> new DenseWeight(dense(arena, DType.F32, outFeatures, inFeatures));
            case "bf16" -> new DenseWeight(dense(arena, DType.BF16, outFeatures, inFeatures));
            case "hqq4" -> quantized(compute, arena, QuantizeOptions.of("hqq"), outFeatures, inFeatures);
            case "nf4", "fp4", "int8" -> quantized(compute, arena, QuantizeOptions.of(format), outFeatures, inFeatures);
            default -> blocks(arena, GgufType.valueOf(format.toUpperCase(Locale.ROOT)), outFeatures, inFeatures);
        };
    }

    static Matrix matrix(Arena arena, int rows, int columns, long seed) {
        Matrix matrix = Matrix.allocate(arena, rows, columns);
        SplittableRandom random = new SplittableRandom(seed);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextDouble(-1, 1));
            }
        }
        return matrix;
    }

    private static Weight quantized(
            Compute compute, Arena arena, QuantizeOptions options, int outFeatures, int inFeatures) {
        try (Arena passing = Arena.ofShared()) {
            Tensor tensor = dense(passing, DType.F32, outFeatures, inFeatures);
            return Quantizers.of(options).quantize(compute, "random", tensor, arena);
        }
    }

    private static Tensor dense(Arena arena, DType dtype, int outFeatures, int inFeatures) {
        Tensor tensor = Tensor.allocate(arena, dtype, outFeatures, inFeatures);
        MemorySegment segment = tensor.segment();
        SplittableRandom random = new SplittableRandom(11);
        for (long i = 0; i < tensor.elements(); i++) {
            float value = (random.nextInt(1 << 16) - (1 << 15)) * 0x1p-15f;
            if (dtype == DType.F32) {
                segment.set(Tensor.FLOAT, 4 * i, value);
            } else {
                segment.set(Tensor.SHORT, 2 * i, (short) (Float.floatToRawIntBits(value) >>> 16));
            }
        }
        return tensor;
    }

    /// Random codes; the f16 fields at the head of a block are small numbers.
    private static Weight blocks(Arena arena, GgufType type, int outFeatures, int inFeatures) {
        long blocks = (long) outFeatures * inFeatures / type.blockElements();
        MemorySegment segment = arena.allocate(blocks * type.blockBytes(), 64);
        SplittableRandom random = new SplittableRandom(12);
        long at = 0;
        for (; at + Long.BYTES <= segment.byteSize(); at += Long.BYTES) {
            segment.set(Tensor.LONG, at, random.nextLong());
        }
        for (; at < segment.byteSize(); at++) {
            segment.set(Tensor.BYTE, at, (byte) random.nextInt());
        }
        short scale = Float.floatToFloat16(0.0625f);
        for (long block = 0; block < blocks; block++) {
            segment.set(Tensor.SHORT, block * type.blockBytes(), scale);
            if (type == GgufType.Q4_1) {
                segment.set(Tensor.SHORT, block * type.blockBytes() + 2, scale);
            }
        }
        return new GgufBlockWeight(type, segment, outFeatures, inFeatures);
    }
}
