package io.vectune.quant.bnb;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Reads runs of a float tensor of any type that can be quantized, widened to f32.
final class FloatRows {
    private final String name;
    private final Tensor tensor;

    /// @param name what messages call the tensor
    /// @throws VectuneException if it is not F32, F16 or BF16 with one or two axes
    FloatRows(String name, Tensor tensor) {
        DType dtype = tensor.dtype();
        if (dtype != DType.F32 && dtype != DType.F16 && dtype != DType.BF16) {
            throw new VectuneException(name + ": expected F32, F16 or BF16, found " + tensor);
        }
        if (tensor.axes() < 1 || tensor.axes() > 2) {
            throw new VectuneException(name + ": expected 2 axes (outFeatures, inFeatures), found " + tensor);
        }
        this.name = name;
        this.tensor = tensor;
    }

    /// Rows; 1 for a vector.
    int outFeatures() {
        return tensor.axes() == 1 ? 1 : Math.toIntExact(tensor.size(0));
    }

    /// Columns.
    int inFeatures() {
        return Math.toIntExact(tensor.size(tensor.axes() - 1));
    }

    /// Reads `count` elements from `element` on into `values[0, count)`.
    void read(long element, int count, float[] values) {
        MemorySegment segment = tensor.segment();
        switch (tensor.dtype()) {
            case F32 -> MemorySegment.copy(segment, Tensor.FLOAT, 4 * element, values, 0, count);
            case F16 -> {
                for (int i = 0; i < count; i++) {
                    values[i] = Float.float16ToFloat(segment.get(Tensor.SHORT, 2 * (element + i)));
                }
            }
            default -> {
                for (int i = 0; i < count; i++) {
                    values[i] = Float.intBitsToFloat(segment.get(Tensor.SHORT, 2 * (element + i)) << 16);
                }
            }
        }
    }

    /// What is wrong with a run that holds a value that is not finite: the first one and its place.
    VectuneException notFinite(float[] values, int from, int to, long element) {
        int bad = 0;
        int first = -1;
        for (int i = from; i < to; i++) {
            if (!Float.isFinite(values[i])) {
                first = first < 0 ? i : first;
                bad++;
            }
        }
        long at = element + first;
        return new VectuneException(
                name
                        + " has "
                        + bad
                        + (bad == 1 ? " value that is" : " values that are")
                        + " not finite in one block, the first is "
                        + values[Math.max(first, 0)]
                        + " at ["
                        + at / inFeatures()
                        + ", "
                        + at % inFeatures()
                        + "]; it cannot be quantized, make or fetch the model again");
    }
}
