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

/// Weights and activations of random numbers, the same ones at each call.
public final class RandomWeights {
    private static final String NESTED = "-nested";
    private static final long WEIGHT_SEED = 11;
    private static final long BLOCK_SEED = 12;

    private RandomWeights() {}

    /// A weight of uniform numbers in [-1, 1), or of random codes whose weights are of size one.
    ///
    /// @param format `f32`, `bf16`, `f16`; `hqqN` (N bits, group 64, axis 1), `hqqN-nested` (scales and zero points in
    ///   8 bits); `nf4`, `nf4-nested` (absmax quantized itself), `fp4`, `int8`; or a GGUF block type such as `q4_k`
    /// @throws IllegalArgumentException if the format is none of these
    public static Weight weight(Compute compute, Arena arena, String format, int outFeatures, int inFeatures) {
        return switch (format) {
            case "f32" -> new DenseWeight(dense(arena, DType.F32, outFeatures, inFeatures));
            case "bf16" -> new DenseWeight(dense(arena, DType.BF16, outFeatures, inFeatures));
            case "f16" -> new DenseWeight(dense(arena, DType.F16, outFeatures, inFeatures));
            case "nf4", "fp4", "int8" -> quantized(compute, arena, QuantizeOptions.of(format), outFeatures, inFeatures);
            case "nf4-nested" -> {
                QuantizeOptions options = QuantizeOptions.of("nf4").withDoubleQuant(true);
                yield quantized(compute, arena, options, outFeatures, inFeatures);
            }
            default -> {
                if (format.startsWith("hqq")) {
                    boolean nested = format.endsWith(NESTED);
                    String bits = format.substring(3, format.length() - (nested ? NESTED.length() : 0));
                    QuantizeOptions options =
                            QuantizeOptions.of("hqq").withBits(bits).withMetaBits(nested ? "8" : "none");
                    yield quantized(compute, arena, options, outFeatures, inFeatures);
                }
                yield blocks(arena, blockType(format), outFeatures, inFeatures);
            }
        };
    }

    /// A matrix of uniform numbers in [-1, 1).
    public static Matrix matrix(Arena arena, int rows, int columns, long seed) {
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
        SplittableRandom random = new SplittableRandom(WEIGHT_SEED);
        for (long i = 0; i < tensor.elements(); i++) {
            float value = (random.nextInt(1 << 16) - (1 << 15)) * 0x1p-15f;
            switch (dtype) {
                case F32 -> segment.set(Tensor.FLOAT, 4 * i, value);
                case F16 -> segment.set(Tensor.SHORT, 2 * i, Float.floatToFloat16(value));
                default -> segment.set(Tensor.SHORT, 2 * i, (short) (Float.floatToRawIntBits(value) >>> 16));
            }
        }
        return tensor;
    }

    private static GgufType blockType(String format) {
        for (GgufType type : GgufType.values()) {
            if (type.isReadable() && !type.isPlain() && type.name().toLowerCase(Locale.ROOT).equals(format)) {
                return type;
            }
        }
        throw new IllegalArgumentException(
                "format: expected f32, bf16, f16, hqqN, nf4, nf4-nested, fp4, int8 or a GGUF block type, found "
                        + format);
    }

    /// Random bits, but for the f16 factors of each block.
    private static Weight blocks(Arena arena, GgufType type, int outFeatures, int inFeatures) {
        long blocks = (long) outFeatures * inFeatures / type.blockElements();
        MemorySegment segment = arena.allocate(blocks * type.blockBytes(), 64);
        SplittableRandom random = new SplittableRandom(BLOCK_SEED);
        long at = 0;
        for (; at + Long.BYTES <= segment.byteSize(); at += Long.BYTES) {
            segment.set(Tensor.LONG, at, random.nextLong());
        }
        for (; at < segment.byteSize(); at++) {
            segment.set(Tensor.BYTE, at, (byte) random.nextInt());
        }
        BlockFactors factors = BlockFactors.of(type);
        for (long block = 0; block < blocks; block++) {
            for (int field : factors.offsets()) {
                segment.set(Tensor.SHORT, block * type.blockBytes() + field, Float.floatToFloat16(factors.value()));
            }
        }
        return new GgufBlockWeight(type, segment, outFeatures, inFeatures);
    }
}
