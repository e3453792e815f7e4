package io.vectune.jmh;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.bnb.FourBitConfig;
import io.vectune.quant.bnb.FourBitQuantizer;
import io.vectune.quant.gguf.GgufBlockWeight;
import io.vectune.quant.gguf.GgufType;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.SplittableRandom;

/// Random weights of the formats that benchmarks name.
final class Weights {
    private Weights() {}

    /// A weight of uniform numbers around zero.
    ///
    /// @param format `f32`, `bf16`, `f16`, `hqqN` (N bits, group 64, axis 1), `nf4`, `nf4-nested`, `fp4`, `int8`, or a
    ///   GGUF block type (`q4_0`)
    static Weight random(Compute compute, Arena arena, String format, int outFeatures, int inFeatures) {
        return switch (format) {
            case "f32" -> new DenseWeight(dense(arena, DType.F32, outFeatures, inFeatures));
            case "bf16" -> new DenseWeight(dense(arena, DType.BF16, outFeatures, inFeatures));
            case "f16" -> new DenseWeight(dense(arena, DType.F16, outFeatures, inFeatures));
            case "nf4" -> fourBit(compute, arena, FourBitConfig.nf4(false), outFeatures, inFeatures);
            case "nf4-nested" -> fourBit(compute, arena, FourBitConfig.nf4(true), outFeatures, inFeatures);
            case "fp4" -> fourBit(compute, arena, FourBitConfig.fp4(false), outFeatures, inFeatures);
            case "int8" -> quantized(compute, arena, QuantizeOptions.of("int8"), outFeatures, inFeatures);
            default -> {
                if (format.startsWith("hqq")) {
                    QuantizeOptions options = QuantizeOptions.of("hqq").withBits(format.substring(3));
                    yield quantized(compute, arena, options, outFeatures, inFeatures);
                }
                GgufType type = GgufType.valueOf(format.toUpperCase(Locale.ROOT));
                yield blocks(arena, type, outFeatures, inFeatures);
            }
        };
    }

    private static Weight quantized(
            Compute compute, Arena arena, QuantizeOptions options, int outFeatures, int inFeatures) {
        try (Arena passing = Arena.ofShared()) {
            Tensor tensor = dense(passing, DType.F32, outFeatures, inFeatures);
            return Quantizers.of(options).quantize(compute, "random", tensor, arena);
        }
    }

    private static Weight fourBit(Compute compute, Arena arena, FourBitConfig config, int outFeatures, int inFeatures) {
        try (Arena passing = Arena.ofShared()) {
            Tensor tensor = dense(passing, DType.F32, outFeatures, inFeatures);
            return FourBitQuantizer.quantize(compute, "random", tensor, config, arena);
        }
    }

    private static Tensor dense(Arena arena, DType dtype, int outFeatures, int inFeatures) {
        Tensor tensor = Tensor.allocate(arena, dtype, outFeatures, inFeatures);
        MemorySegment segment = tensor.segment();
        SplittableRandom random = new SplittableRandom(11);
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

    /// Random codes; all 16-bit fields of a block's head are small f16 numbers.
    private static Weight blocks(Arena arena, GgufType type, int outFeatures, int inFeatures) {
        long blocks = (long) outFeatures * inFeatures / type.blockElements();
        MemorySegment segment = arena.allocate(blocks * type.blockBytes(), 64);
        SplittableRandom random = new SplittableRandom(12);
        // Weights of size one: the groups of large blocks have scales of 6 or 8 bits besides.
        short scale = Float.floatToFloat16(type.blockElements() == 256 ? 0x1p-11f : 0x1p-4f);
        for (long block = 0; block < blocks; block++) {
            long at = block * type.blockBytes();
            for (int i = 0; i < type.blockBytes(); i++) {
                segment.set(Tensor.BYTE, at + i, (byte) random.nextInt());
            }
            segment.set(Tensor.SHORT, at, scale);
            if (type == GgufType.Q4_1 || type == GgufType.Q5_1 || type == GgufType.Q4_K || type == GgufType.Q5_K) {
                segment.set(Tensor.SHORT, at + 2, scale);
            }
            if (type == GgufType.Q6_K) {
                segment.set(Tensor.SHORT, at + type.blockBytes() - 2, scale);
            }
        }
        return new GgufBlockWeight(type, segment, outFeatures, inFeatures);
    }
}
