package io.vectune.quant.bnb;

import java.util.Locale;

/// The two 4-bit data types: a stored code is an index into a table of 16 values in [-1, 1].
///
///     w = codebook[code] * absmax[block]
public enum FourBitType {
    /// Quantiles of the normal distribution; sorted.
    NF4,
    /// One sign, two exponent and one mantissa bit, divided by 12; codes 0 and 8 are both zero.
    FP4;

    /// The value of a code.
    public float value(int code) {
        return Codebook.of(this).value(code);
    }

    /// The 16 values, by code.
    public float[] codebook() {
        float[] values = new float[16];
        for (int code = 0; code < values.length; code++) {
            values[code] = value(code);
        }
        return values;
    }

    /// The name in files: `nf4`, `fp4`.
    public String key() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// The code that a zero is quantized to.
    public int zeroCode() {
        return Codebook.of(this).code(0);
    }

    /// The packed byte of two zeros.
    public byte zeroByte() {
        return (byte) (zeroCode() << 4 | zeroCode());
    }
}
