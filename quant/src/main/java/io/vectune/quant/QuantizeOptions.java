package io.vectune.quant;

import io.vectune.runtime.tensor.DType;
import java.util.Optional;

/// How to quantize, as a user says it. Only what belongs to the chosen method is looked at.
///
/// @param method `hqq`, `nf4`, `fp4` or `int8`
/// @param bits hqq: 8, 6, 5, 4, 3, 2, 1.58 or 1
/// @param groupSize hqq: a number, or `none` for one group a channel
/// @param axis hqq: 1 (groups along inFeatures) or 0
/// @param metaBits hqq: `8` to store scales and zero points in 8 bits, or `none`
/// @param blockSize nf4, fp4: weights that share an absmax
/// @param doubleQuant nf4, fp4: whether absmax is quantized itself
/// @param computeDtype type of the stored scales and of dequantization; empty for that of each dense weight
public record QuantizeOptions(
        String method,
        String bits,
        String groupSize,
        int axis,
        String metaBits,
        int blockSize,
        boolean doubleQuant,
        Optional<DType> computeDtype) {
    /// The libraries' defaults for a method.
    public static QuantizeOptions of(String method) {
        return new QuantizeOptions(method, "4", "64", 1, "none", 64, false, Optional.empty());
    }

    public QuantizeOptions withBits(String value) {
        return new QuantizeOptions(method, value, groupSize, axis, metaBits, blockSize, doubleQuant, computeDtype);
    }

    public QuantizeOptions withGroupSize(String value) {
        return new QuantizeOptions(method, bits, value, axis, metaBits, blockSize, doubleQuant, computeDtype);
    }

    public QuantizeOptions withAxis(int value) {
        return new QuantizeOptions(method, bits, groupSize, value, metaBits, blockSize, doubleQuant, computeDtype);
    }

    public QuantizeOptions withMetaBits(String value) {
        return new QuantizeOptions(method, bits, groupSize, axis, value, blockSize, doubleQuant, computeDtype);
    }

    public QuantizeOptions withBlockSize(int value) {
        return new QuantizeOptions(method, bits, groupSize, axis, metaBits, value, doubleQuant, computeDtype);
    }

    public QuantizeOptions withDoubleQuant(boolean value) {
        return new QuantizeOptions(method, bits, groupSize, axis, metaBits, blockSize, value, computeDtype);
    }

    public QuantizeOptions withComputeDtype(DType value) {
        return new QuantizeOptions(method, bits, groupSize, axis, metaBits, blockSize, doubleQuant, Optional.of(value));
    }
}
