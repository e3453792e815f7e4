package io.vectune.quant.bnb;

import java.util.Arrays;

/// The signed dynamic 8-bit data type that nested absmax values are stored in, and its quantizer.
///
/// For each exponent i = 0..6 there are 2^i positive values (and as many negative ones)
///
///     10^(i - 6) * m_k,      m_k the middle of the k-th of 2^i equal parts of [0.1, 1]
///
/// and 0 and 1: 256 values, sorted; code = index. The parts are torch's f32 linspace, whose step is multiplied by the
/// index with one rounding from each end.
///
/// Quantizing goes through a table of 65,536 equal steps of [-1, 1], as bitsandbytes does on the CPU: codes 124 to 130
/// (0 among them) are never chosen, a zero becomes 2.1e-5 of the block's absmax.
/// Source    bitsandbytes/functional.py create_dynamic_map, csrc/cpu_ops.cpp quantize_cpu_impl
final class DynamicMap {
    /// Values that share one nested absmax.
    static final int BLOCK_SIZE = 256;

    private static final int STEPS = 65_536;
    private static final float[] VALUES = create();
    private static final byte[] CODE_OF_STEP = codeOfStep();

    private DynamicMap() {}

    /// The 256 values, ascending; a copy.
    static float[] values() {
        return VALUES.clone();
    }

    private static float[] create() {
        float[] values = new float[256];
        int at = 0;
        for (int exponent = 0; exponent < 7; exponent++) {
            int parts = 1 << exponent;
            float power = (float) Math.pow(10, exponent - 6);
            for (int k = 0; k < parts; k++) {
                float middle = (boundary(k, parts + 1) + boundary(k + 1, parts + 1)) / 2;
                values[at++] = power * middle;
                values[at++] = -(power * middle);
            }
        }
        values[at++] = 0;
        values[at] = 1;
        Arrays.sort(values);
        return values;
    }

    /// linspace(0.1, 1, count)[k] in f32.
    private static float boundary(int k, int count) {
        float step = (1f - 0.1f) / (count - 1);
        return k < count / 2 ? Math.fma(step, (float) k, 0.1f) : Math.fma(-step, (float) (count - 1 - k), 1f);
    }

    private static byte[] codeOfStep() {
        byte[] codes = new byte[STEPS];
        int code = 0;
        for (int step = 0; step < STEPS; step++) {
            float value = -1f + (2f * step) / (STEPS - 1);
            while (code < 255 && 0.5f * (VALUES[code] + VALUES[code + 1]) < value) {
                code++;
            }
            codes[step] = (byte) code;
        }
        return codes;
    }

    /// Quantizes one block: codes to `codes[from, to)`.
    ///
    /// @return the absmax of the block
    static float quantize(float[] values, int from, int to, byte[] codes) {
        float absmax = 0;
        for (int i = from; i < to; i++) {
            absmax = Math.max(absmax, Math.abs(values[i]));
        }
        if (absmax == 0) {
            Arrays.fill(codes, from, to, (byte) 0);
            return absmax;
        }
        float inverse = 1f / absmax;
        for (int i = from; i < to; i++) {
            float scaled = Math.clamp(values[i] * inverse, -1f, 1f);
            codes[i] = CODE_OF_STEP[(int) Math.fma((scaled + 1f) * 0.5f, (float) (STEPS - 1), 0.5f)];
        }
        return absmax;
    }
}
