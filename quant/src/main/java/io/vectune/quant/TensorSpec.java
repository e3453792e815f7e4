package io.vectune.quant;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.util.Arrays;
import java.util.List;

/// Type and shape of a tensor that is still to be made: what a streaming writer declares first.
///
/// @param dtype element type
/// @param shape sizes, first axis first; empty for a scalar
public record TensorSpec(DType dtype, List<Long> shape) {
    public TensorSpec {
        shape = List.copyOf(shape);
    }

    public static TensorSpec of(DType dtype, long... shape) {
        return new TensorSpec(dtype, Arrays.stream(shape).boxed().toList());
    }

    public static TensorSpec of(Tensor tensor) {
        return of(tensor.dtype(), tensor.shape());
    }

    /// The sizes as an array.
    public long[] sizes() {
        return shape.stream().mapToLong(Long::longValue).toArray();
    }

    /// Bytes of such a tensor.
    public long bytes() {
        return Tensor.elements(sizes()) * dtype.bytes();
    }
}
