package io.vectune.quant.gguf;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// One tensor of a GGUF file, as it is stored.
public final class GgufTensor {
    private static final int DEQUANTIZE_ELEMENTS = 1 << 14;

    private final String origin;
    private final String name;
    private final GgufType type;
    private final long[] shape;
    private final MemorySegment segment;

    GgufTensor(String origin, String name, GgufType type, long[] shape, MemorySegment segment) {
        this.origin = origin;
        this.name = name;
        this.type = type;
        this.shape = shape;
        this.segment = segment;
    }

    public String name() {
        return name;
    }

    public GgufType type() {
        return type;
    }

    /// A copy of the shape, outermost first: (outFeatures, inFeatures) for a linear layer.
    public long[] shape() {
        return shape.clone();
    }

    /// Number of elements.
    public long elements() {
        return Tensor.elements(shape);
    }

    /// The stored bytes, mapped.
    public MemorySegment segment() {
        return segment;
    }

    /// This tensor as a weight (outFeatures, inFeatures) that decodes and multiplies from the stored bytes.
    ///
    /// @throws FileFormatException if it has not 2 axes, or its type is not known
    public Weight weight() {
        if (shape.length != 2 || shape[0] > Integer.MAX_VALUE || shape[1] > Integer.MAX_VALUE) {
            throw new FileFormatException(this + ": expected 2 axes (outFeatures, inFeatures) below 2^31");
        }
        return switch (type) {
            case F32, F16, BF16 -> new DenseWeight(asTensor());
            default -> GgufBlockWeight.of(this, segment, (int) shape[0], (int) shape[1]);
        };
    }

    /// A plain tensor (F32, F16, BF16, F64, integers) without copying.
    ///
    /// @throws FileFormatException for block formats, which have no elements of their own
    public Tensor asTensor() {
        DType dtype =
                switch (type) {
                    case F32 -> DType.F32;
                    case F16 -> DType.F16;
                    case BF16 -> DType.BF16;
                    case F64 -> DType.F64;
                    case I8 -> DType.I8;
                    case I16 -> DType.I16;
                    case I32 -> DType.I32;
                    case I64 -> DType.I64;
                    default -> throw new FileFormatException(this + ": expected a plain tensor, found blocks");
                };
        return Tensor.of(dtype, shape, segment);
    }

    /// The exact values as a new F32 tensor of the same shape: for norms and biases, and for tools that write dense
    /// files. F32 is copied, other types are widened.
    ///
    /// @throws FileFormatException if the type is not known
    public Tensor dequantize(Arena arena) {
        Tensor dense = Tensor.allocate(arena, DType.F32, shape);
        long elements = elements();
        if (type.isPlain()) {
            Tensor plain = asTensor();
            for (long i = 0; i < elements; i++) {
                dense.setFloat(i, plain.getFloat(i));
            }
            return dense;
        }
        long blocks = elements / type.blockElements();
        int step = DEQUANTIZE_ELEMENTS / type.blockElements();
        float[] values = new float[DEQUANTIZE_ELEMENTS];
        for (long block = 0; block < blocks; block += step) {
            int count = (int) Math.min(step, blocks - block);
            MemorySegment part = segment.asSlice(block * type.blockBytes(), (long) count * type.blockBytes());
            int columns = count * type.blockElements();
            GgufBlockWeight.of(this, part, 1, columns).decode(0, 1, 0, columns, values, 0, columns);
            MemorySegment.copy(values, 0, dense.segment(), Tensor.FLOAT, 4 * block * type.blockElements(), columns);
        }
        return dense;
    }

    /// The same rows in another order, copied: row i of the result is row `order[i]` of this tensor. Blocks never
    /// straddle rows, so this moves bytes and changes no value.
    ///
    /// Converters to GGUF interleave the halves of each query and key head of Llama-type models for a rotary embedding
    /// of neighboring pairs; [#halfSplitHeads] gives the order that undoes it.
    ///
    /// @param order one entry a row, a permutation
    public GgufTensor permuteRows(Arena arena, int[] order) {
        if (shape.length == 0 || order.length != shape[0]) {
            throw new IllegalArgumentException(
                    this + ": expected an order of as many rows, found one of " + order.length);
        }
        long rowBytes = order.length == 0 ? 0 : segment.byteSize() / order.length;
        boolean[] seen = new boolean[order.length];
        MemorySegment copy = arena.allocate(Math.max(segment.byteSize(), 1), Tensor.ALIGNMENT_BYTES);
        for (int row = 0; row < order.length; row++) {
            int from = order[row];
            if (from < 0 || from >= seen.length || seen[from]) {
                throw new IllegalArgumentException("order: expected a permutation, found " + from + " at " + row);
            }
            seen[from] = true;
            MemorySegment.copy(segment, from * rowBytes, copy, row * rowBytes, rowBytes);
        }
        return new GgufTensor(origin, name, type, shape, copy.asSlice(0, segment.byteSize()));
    }

    /// The order of rows that turns a head layout of interleaved pairs back into the half-split layout of the
    /// `transformers` library:
    ///
    ///     order[head * headDim + half * headDim / 2 + i] = head * headDim + 2 * i + half
    ///
    /// @param heads number of heads of this projection
    /// @param headDim rows of one head, even
    public static int[] halfSplitHeads(int heads, int headDim) {
        if (heads < 1 || headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException(
                    "heads and an even headDim expected, found " + heads + " heads of " + headDim);
        }
        int[] order = new int[Math.multiplyExact(heads, headDim)];
        for (int head = 0; head < heads; head++) {
            for (int half = 0; half < 2; half++) {
                for (int i = 0; i < headDim / 2; i++) {
                    order[head * headDim + half * (headDim / 2) + i] = head * headDim + 2 * i + half;
                }
            }
        }
        return order;
    }

    @Override
    public String toString() {
        return origin + ": tensor " + name + " " + type + Arrays.toString(shape);
    }
}
