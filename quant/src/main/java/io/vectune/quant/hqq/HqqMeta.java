package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The scales or the zero points of a weight: as stored, and as the f32 values that the kernels read.
public sealed interface HqqMeta {
    /// f32 [groups], followed by a few floats of padding.
    MemorySegment decoded();

    /// Bytes as stored.
    long storageBytes();

    /// How they are stored.
    default HqqMetaConfig config() {
        return switch (this) {
            case Plain _ -> HqqMetaConfig.PLAIN;
            case Quantized quantized -> {
                HqqGeometry geometry = quantized.weight().geometry();
                yield geometry.groups() == 1 && geometry.axis() == 1
                        ? HqqMetaConfig.PER_TENSOR
                        : new HqqMetaConfig.Grouped(geometry.groupSize(), geometry.axis());
            }
        };
    }

    /// The type of the stored floats; `computeDtype` where codes are stored.
    default DType floatType(DType computeDtype) {
        return this instanceof Plain plain ? plain.values().dtype() : computeDtype;
    }

    /// Stored as floats.
    ///
    /// @param values F32, F16 or BF16, of shape (groups, 1) or (1, groups)
    record Plain(Tensor values, MemorySegment decoded) implements HqqMeta {
        @Override
        public long storageBytes() {
            return values.byteSize();
        }
    }

    /// Stored as 8-bit codes with their own scale and zero point.
    ///
    /// @param weight the values, seen as a weight (groups, 1) or (1, groups)
    record Quantized(HqqWeight weight, MemorySegment decoded) implements HqqMeta {
        @Override
        public long storageBytes() {
            return weight.storageBytes();
        }
    }

    /// Values stored as floats.
    static HqqMeta plain(Arena arena, Tensor values) {
        int count = Math.toIntExact(values.elements());
        MemorySegment decoded = padded(arena, count);
        if (values.dtype() == DType.F32) {
            MemorySegment.copy(values.segment(), 0, decoded, 0, values.byteSize());
            return new Plain(values, decoded);
        }
        for (int i = 0; i < count; i++) {
            decoded.setAtIndex(Tensor.FLOAT, i, values.getFloat(i));
        }
        return new Plain(values, decoded);
    }

    /// Values stored as codes: decoded once, so that products never see the codes.
    static HqqMeta quantized(Arena arena, HqqWeight weight) {
        int count = Math.multiplyExact(weight.outFeatures(), weight.inFeatures());
        MemorySegment decoded = padded(arena, count);
        float[] chunk = new float[Math.min(count, 1024)];
        for (int from = 0; from < count; from += chunk.length) {
            int length = Math.min(chunk.length, count - from);
            HqqKernels.ACTIVE.decode(weight.codes(), from, length, chunk, 0);
            MemorySegment.copy(chunk, 0, decoded, Tensor.FLOAT, 4L * from, length);
        }
        return new Quantized(weight, decoded);
    }

    private static MemorySegment padded(Arena arena, int count) {
        return arena.allocate(4L * count + 4L * HqqCodes.PADDING, Tensor.ALIGNMENT_BYTES);
    }
}
