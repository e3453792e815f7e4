package io.vectune.runtime.weight;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The reference kernels of a dense weight.
final class DenseScalar implements DenseKernels {
    @Override
    public void decode(DType dtype, MemorySegment source, long from, int count, float[] target, int offset) {
        for (int i = 0; i < count; i++) {
            target[offset + i] = number(dtype, source, from, i);
        }
    }

    @Override
    public void prepare(DType dtype, MemorySegment source, long from, int count, float[] target, int offset) {
        MemorySegment.copy(source, Tensor.FLOAT, from, target, offset, count);
    }

    @Override
    public void product(
            DType dtype,
            MemorySegment weight,
            long from,
            int rows,
            int columns,
            float[] x,
            int xOffset,
            MemorySegment y,
            long to) {
        for (int row = 0; row < rows; row++) {
            long at = from + (long) row * columns * dtype.bytes();
            float sum = 0;
            for (int i = 0; i < columns; i++) {
                sum = Math.fma(number(dtype, weight, at, i), x[xOffset + i], sum);
            }
            y.set(Tensor.FLOAT, to + 4L * row, sum);
        }
    }

    static float number(DType dtype, MemorySegment source, long from, int index) {
        return switch (dtype) {
            case F32 -> source.get(Tensor.FLOAT, from + 4L * index);
            case BF16 -> Float.intBitsToFloat(source.get(Tensor.SHORT, from + 2L * index) << 16);
            default -> Float.float16ToFloat(source.get(Tensor.SHORT, from + 2L * index));
        };
    }
}
