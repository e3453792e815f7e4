package io.vectune.runtime.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/// A dense row-major tensor over a memory segment, little-endian, of any size.
///
/// The tensor does not own its memory: the arena that allocated or mapped the segment does, and whoever opened the
/// arena closes it. Alignment of elements is not required, as files do not promise it.
public final class Tensor {
    /// Unaligned little-endian layouts: what files hold.
    public static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    public static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    public static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    public static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    public static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    public static final ValueLayout.OfByte BYTE = ValueLayout.JAVA_BYTE;

    /// Alignment of what we allocate: one cache line, one 512-bit vector.
    public static final long ALIGNMENT_BYTES = 64;

    private final DType dtype;
    private final long[] shape;
    private final MemorySegment segment;

    private Tensor(DType dtype, long[] shape, MemorySegment segment) {
        this.dtype = dtype;
        this.shape = shape;
        this.segment = segment;
    }

    /// A tensor over existing memory.
    ///
    /// @param segment exactly the tensor's bytes
    /// @throws IllegalArgumentException if the segment's size is not that of the shape
    public static Tensor of(DType dtype, long[] shape, MemorySegment segment) {
        long bytes = Math.multiplyExact(elements(shape), (long) dtype.bytes());
        if (segment.byteSize() != bytes) {
            throw new IllegalArgumentException(
                    "tensor "
                            + dtype
                            + Arrays.toString(shape)
                            + ": expected "
                            + bytes
                            + " bytes, found a segment of "
                            + segment.byteSize());
        }
        return new Tensor(dtype, shape.clone(), segment);
    }

    /// A zeroed tensor in `arena`, aligned to [#ALIGNMENT_BYTES].
    public static Tensor allocate(Arena arena, DType dtype, long... shape) {
        long bytes = Math.multiplyExact(elements(shape), (long) dtype.bytes());
        return new Tensor(dtype, shape.clone(), arena.allocate(Math.max(bytes, 1), ALIGNMENT_BYTES).asSlice(0, bytes));
    }

    /// Number of elements of a shape; 1 for a scalar.
    ///
    /// @throws IllegalArgumentException for negative sizes
    /// @throws ArithmeticException if the product leaves a long
    public static long elements(long... shape) {
        long elements = 1;
        for (long size : shape) {
            if (size < 0) {
                throw new IllegalArgumentException("shape " + Arrays.toString(shape) + ": sizes must not be negative");
            }
            elements = Math.multiplyExact(elements, size);
        }
        return elements;
    }

    public DType dtype() {
        return dtype;
    }

    /// A copy of the shape.
    public long[] shape() {
        return shape.clone();
    }

    /// Number of axes.
    public int axes() {
        return shape.length;
    }

    /// Size along one axis.
    public long size(int axis) {
        return shape[axis];
    }

    public long elements() {
        return elements(shape);
    }

    public long byteSize() {
        return segment.byteSize();
    }

    /// The memory: exactly this tensor's bytes.
    public MemorySegment segment() {
        return segment;
    }

    /// The same memory under another shape of as many elements.
    public Tensor reshape(long... newShape) {
        return of(dtype, newShape, segment);
    }

    /// One element of a float tensor by its row-major index, widened to f32 (F64 is rounded). Not for hot loops.
    public float getFloat(long index) {
        return switch (dtype) {
            case F32 -> segment.get(FLOAT, index * 4);
            case F64 -> (float) segment.get(DOUBLE, index * 8);
            case F16 -> Float.float16ToFloat(segment.get(SHORT, index * 2));
            case BF16 -> Float.intBitsToFloat(segment.get(SHORT, index * 2) << 16);
            default -> throw new IllegalArgumentException("expected a float tensor, found " + dtype);
        };
    }

    /// Sets one element of an F32 tensor by its row-major index.
    public void setFloat(long index, float value) {
        if (dtype != DType.F32) {
            throw new IllegalArgumentException("expected F32, found " + dtype);
        }
        segment.set(FLOAT, index * 4, value);
    }

    /// Gives the physical memory of a mapped tensor back to the system, so that going through a file larger than the
    /// memory keeps only what is worked on; reading it again maps it again. Does nothing to a tensor in memory.
    public void release() {
        if (segment.isMapped()) {
            segment.unload();
        }
    }

    /// This F32 tensor as a matrix: the last axis are the columns, all others together the rows. No copy.
    public Matrix asMatrix() {
        if (dtype != DType.F32) {
            throw new IllegalArgumentException("expected F32, found " + dtype);
        }
        long columns = shape.length == 0 ? 1 : shape[shape.length - 1];
        long rows = columns == 0 ? 0 : elements() / columns;
        return Matrix.of(segment, 0, Math.toIntExact(rows), Math.toIntExact(columns), columns);
    }

    @Override
    public String toString() {
        return dtype + Arrays.toString(shape);
    }
}
