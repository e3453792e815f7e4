package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/// Quantizes dense weights with HQQ: the codes, scales and zero points of hqq 0.2.8.post1, bit for bit, for any number
/// of threads.
///
/// All arithmetic is f32, whatever the type of the input. Scales and zero points are stored in the compute type, or as
/// 8-bit codes (see [HqqMetaConfig]), as hqq's HQQLinear does.
public final class HqqQuantizer {
    private static final HqqBits META_BITS = HqqBits.EIGHT;

    private HqqQuantizer() {}

    /// Quantizes one weight.
    ///
    /// @param name what messages call the weight
    /// @param weight F32, F16 or BF16, (outFeatures, inFeatures)
    /// @param arena holds the result
    /// @throws VectuneException if the weight has values that are not finite, or the group size does not fit its shape
    public static HqqWeight quantize(Compute compute, String name, Tensor weight, HqqConfig config, Arena arena) {
        if (weight.axes() != 2) {
            throw new VectuneException(name + ": expected 2 axes (outFeatures, inFeatures), found " + weight);
        }
        HqqGeometry geometry = geometry(name, weight, config);
        long mark = compute.workspace().mark();
        try {
            MemorySegment weights = widened(compute, weight);
            HqqSolver solver = new HqqSolver(compute, weights, geometry, config.bits().maxCode());
            boolean finite =
                    config.optimize()
                            ? solver.solve(config.roundZero(), config.kappaSchedule())
                            : solver.start(config.roundZero());
            if (!finite) {
                throw notFinite(name, weight);
            }
            MemorySegment packed = arena.allocate(geometry.packedBytes(), Tensor.ALIGNMENT_BYTES);
            GroupLevels levels = solver.levels();
            HqqPacker.pack(compute, weights, geometry, levels, packed);
            float[] scale = levels.inverse();
            for (int group = 0; group < scale.length; group++) {
                scale[group] = 1f / scale[group];
            }
            DType type = config.computeDtype();
            HqqMeta zeroMeta = meta(compute, name, "zero", levels.zero(), geometry, config.zeroMeta(), type, arena);
            HqqMeta scaleMeta = meta(compute, name, "scale", scale, geometry, config.scaleMeta(), type, arena);
            return new HqqWeight(config, geometry, packed, scaleMeta, zeroMeta);
        } finally {
            compute.workspace().release(mark);
        }
    }

    private static HqqGeometry geometry(String name, Tensor weight, HqqConfig config) {
        try {
            return config.geometry(Math.toIntExact(weight.size(0)), Math.toIntExact(weight.size(1)));
        } catch (VectuneException refused) {
            throw new VectuneException(name + ": " + refused.getMessage(), refused);
        }
    }

    private static HqqMeta meta(
            Compute compute,
            String name,
            String what,
            float[] values,
            HqqGeometry geometry,
            HqqMetaConfig config,
            DType type,
            Arena arena) {
        long[] shape = geometry.parameterShape();
        return switch (config) {
            case HqqMetaConfig.Plain() -> {
                Tensor stored = Tensor.allocate(arena, type, shape);
                for (int i = 0; i < values.length; i++) {
                    float value = FloatCast.round(values[i], type);
                    if (!Float.isFinite(value)) {
                        throw new VectuneException(
                                name
                                        + ": the "
                                        + what
                                        + " of group "
                                        + i
                                        + " is "
                                        + values[i]
                                        + ", too large for "
                                        + type.name().toLowerCase(Locale.ROOT)
                                        + "; use the compute type f32");
                    }
                    FloatCast.set(stored, i, value);
                }
                yield HqqMeta.plain(arena, stored);
            }
            case HqqMetaConfig.PerTensor _, HqqMetaConfig.Grouped _ -> {
                Tensor tensor = Tensor.allocate(arena, DType.F32, shape);
                MemorySegment.copy(values, 0, tensor.segment(), Tensor.FLOAT, 0, values.length);
                HqqConfig nested = metaConfig(config, geometry, type);
                yield HqqMeta.quantized(arena, quantize(compute, what + " of " + name, tensor, nested, arena));
            }
        };
    }

    /// How scales or zero points of that geometry are quantized.
    static HqqConfig metaConfig(HqqMetaConfig meta, HqqGeometry geometry, DType computeDtype) {
        HqqConfig config =
                switch (meta) {
                    case HqqMetaConfig.Plain() -> throw new IllegalArgumentException("plain values are not quantized");
                    case HqqMetaConfig.PerTensor() -> HqqConfig.of(META_BITS, geometry.groups(), 1);
                    case HqqMetaConfig.Grouped(int size, int axis) -> HqqConfig.of(META_BITS, size, axis);
                };
        return config.withOptimize(false).withComputeDtype(computeDtype);
    }

    private static MemorySegment widened(Compute compute, Tensor weight) {
        if (weight.dtype() == DType.F32) {
            return weight.segment();
        }
        if (!weight.dtype().isFloat() || weight.dtype() == DType.F64) {
            throw new VectuneException("weight: expected F32, F16 or BF16, found " + weight);
        }
        int rows = (int) weight.size(0);
        int columns = (int) weight.size(1);
        Matrix wide = compute.workspace().matrix(rows, columns);
        MemorySegment from = weight.segment();
        boolean half = weight.dtype() == DType.F16;
        compute.team()
                .run(
                        rows,
                        1 + 65536 / columns,
                        (rowFrom, rowTo, worker) -> {
                            for (int row = rowFrom; row < rowTo; row++) {
                                long at = (long) row * columns;
                                for (int i = 0; i < columns; i++) {
                                    short bits = from.get(Tensor.SHORT, 2 * (at + i));
                                    float value = half ? Float.float16ToFloat(bits) : Float.intBitsToFloat(bits << 16);
                                    wide.segment().set(Tensor.FLOAT, wide.rowOffset(row) + 4L * i, value);
                                }
                            }
                        });
        return wide.segment().asSlice(wide.offset(), 4L * rows * columns);
    }

    private static VectuneException notFinite(String name, Tensor weight) {
        long count = 0;
        long first = -1;
        for (long i = 0; i < weight.elements(); i++) {
            if (!Float.isFinite(weight.getFloat(i))) {
                first = count == 0 ? i : first;
                count++;
            }
        }
        long columns = weight.size(1);
        return new VectuneException(
                "%s has %d non-finite values, the first is %s at [%d, %d]; HQQ cannot quantize it"
                        .formatted(name, count, weight.getFloat(first), first / columns, first % columns));
    }
}
