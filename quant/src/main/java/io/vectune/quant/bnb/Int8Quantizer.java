package io.vectune.quant.bnb;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Quantizes dense weights to LLM.int8(): the bytes of bitsandbytes 0.50.2 on the CPU, for any number of threads.
///
///     h      = w rounded to f16
///     absmax = max |h| over the row
///     code   = rint(h * ((1 / absmax) * 127))      ties to even; a row of zeros has codes 0
public final class Int8Quantizer {
    private Int8Quantizer() {}

    /// Quantizes one weight.
    ///
    /// @param name what messages call the weight
    /// @param weight F32, F16 or BF16, (outFeatures, inFeatures)
    /// @param arena holds the result
    /// @throws VectuneException if a value is not finite in f16; the message says where
    public static Int8Weight quantize(Compute compute, String name, Tensor weight, Arena arena) {
        FloatRows rows = new FloatRows(name, weight);
        int outFeatures = rows.outFeatures();
        int inFeatures = rows.inFeatures();
        long elements = weight.elements();
        MemorySegment codes = arena.allocate(Math.max(elements, 1), Tensor.ALIGNMENT_BYTES).asSlice(0, elements);
        MemorySegment absmax = Tensor.allocate(arena, DType.F32, outFeatures).segment();
        compute.team()
                .run(
                        outFeatures,
                        1,
                        (from, to, worker) -> {
                            float[] values = compute.scratch(worker, 0, inFeatures);
                            byte[] row = new byte[inFeatures];
                            for (int o = from; o < to; o++) {
                                long element = (long) o * inFeatures;
                                rows.read(element, inFeatures, values);
                                float largest = quantizeRow(values, 0, inFeatures, row);
                                if (!(largest <= Float.MAX_VALUE)) {
                                    throw rows.notFinite(values, 0, inFeatures, element);
                                }
                                absmax.set(Tensor.FLOAT, 4L * o, largest);
                                MemorySegment.copy(row, 0, codes, Tensor.BYTE, element, inFeatures);
                            }
                        });
        return new Int8Weight(weight.dtype(), outFeatures, inFeatures, codes, absmax);
    }

    /// Rounds a row to f16 in place and quantizes it.
    ///
    /// @return its absmax; not finite if a value is not
    static float quantizeRow(float[] values, int from, int count, byte[] codes) {
        float largest = 0;
        for (int i = 0; i < count; i++) {
            values[from + i] = Float.float16ToFloat(Float.floatToFloat16(values[from + i]));
        }
        for (int i = 0; i < count; i++) {
            largest = Math.max(largest, Math.abs(values[from + i]));
        }
        float scale = largest == 0 ? 0 : 1f / largest * 127f;
        for (int i = 0; i < count; i++) {
            codes[i] = (byte) Math.rint(values[from + i] * scale);
        }
        return largest;
    }
}
