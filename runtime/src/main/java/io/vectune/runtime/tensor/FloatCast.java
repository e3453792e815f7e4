package io.vectune.runtime.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Conversions between f32 and the float types of files, rounding to nearest, ties to even, as torch does.
public final class FloatCast {
    private FloatCast() {}

    /// The bits of the bf16 nearest to a value; NaN becomes the quiet NaN 0x7fc0.
    public static short toBf16(float value) {
        if (Float.isNaN(value)) {
            return 0x7fc0;
        }
        int bits = Float.floatToRawIntBits(value);
        return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
    }

    /// The BF16 value nearest to a value, as f32.
    public static float roundToBf16(float value) {
        return Float.intBitsToFloat(toBf16(value) << 16);
    }

    /// The value of a type nearest to a value, as f32: what torch leaves of the result of an elementwise operation.
    ///
    /// @param dtype F32 (the value itself), F16 or BF16
    public static float round(float value, DType dtype) {
        return switch (dtype) {
            case F32 -> value;
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(value));
            case BF16 -> roundToBf16(value);
            default -> throw new IllegalArgumentException("dtype: expected F32, F16 or BF16, found " + dtype);
        };
    }

    /// Sets an element of a tensor to the value of its type nearest to `value`.
    ///
    /// @param tensor F32, F16 or BF16
    /// @param index of the element in row-major order
    public static void set(Tensor tensor, long index, float value) {
        switch (tensor.dtype()) {
            case F32 -> tensor.segment().set(Tensor.FLOAT, 4 * index, value);
            case F16 -> tensor.segment().set(Tensor.SHORT, 2 * index, Float.floatToFloat16(value));
            case BF16 -> tensor.segment().set(Tensor.SHORT, 2 * index, toBf16(value));
            default -> throw new IllegalArgumentException("tensor: expected F32, F16 or BF16, found " + tensor);
        }
    }

    /// A new tensor (rows, columns) with the matrix rounded to `dtype`.
    ///
    /// @param dtype F32, F16 or BF16
    public static Tensor of(Arena arena, Matrix matrix, DType dtype) {
        Tensor tensor = Tensor.allocate(arena, dtype, matrix.rows(), matrix.columns());
        MemorySegment to = tensor.segment();
        for (int row = 0; row < matrix.rows(); row++) {
            long first = (long) row * matrix.columns();
            long at = matrix.rowOffset(row);
            switch (dtype) {
                case F32 -> MemorySegment.copy(matrix.segment(), at, to, 4 * first, 4L * matrix.columns());
                case BF16 -> {
                    for (int column = 0; column < matrix.columns(); column++) {
                        float value = matrix.segment().get(Tensor.FLOAT, at + 4L * column);
                        to.set(Tensor.SHORT, 2 * (first + column), toBf16(value));
                    }
                }
                case F16 -> {
                    for (int column = 0; column < matrix.columns(); column++) {
                        float value = matrix.segment().get(Tensor.FLOAT, at + 4L * column);
                        to.set(Tensor.SHORT, 2 * (first + column), Float.floatToFloat16(value));
                    }
                }
                default -> throw new IllegalArgumentException("dtype: expected F32, F16 or BF16, found " + dtype);
            }
        }
        return tensor;
    }

    /// The tensor in another float type, its shape kept; the tensor itself if it has that type.
    ///
    /// @param tensor F64, F32, F16 or BF16
    /// @param dtype F32, F16 or BF16
    public static Tensor of(Arena arena, Tensor tensor, DType dtype) {
        if (tensor.dtype() == dtype) {
            return tensor;
        }
        int count = Math.toIntExact(Math.min(tensor.elements(), 1 << 16));
        Tensor result = Tensor.allocate(arena, dtype, tensor.shape());
        try (Arena temporary = Arena.ofConfined()) {
            Matrix piece = Matrix.allocate(temporary, 1, Math.max(count, 1));
            for (long from = 0; from < tensor.elements(); from += count) {
                int size = (int) Math.min(count, tensor.elements() - from);
                for (int index = 0; index < size; index++) {
                    piece.set(0, index, tensor.getFloat(from + index));
                }
                MemorySegment rounded = of(temporary, piece.columns(0, size), dtype).segment();
                MemorySegment.copy(rounded, 0, result.segment(), from * dtype.bytes(), rounded.byteSize());
            }
        }
        return result;
    }
}
