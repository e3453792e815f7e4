package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Appends zero columns to an HQQ weight without decoding it: old groups keep codes, scale and zero point; new groups
/// have code 0, zero point 0 and scale 1, which decode to 0.
///
/// On axis 1 each row must consist of whole groups. On axis 0 a group runs over rows of one column; the group size must
/// divide the rows. Scales and zero points that are themselves codes become floats with the same values: a code cannot
/// hold the zero of a new group.
final class HqqExpansion {
    private HqqExpansion() {}

    static HqqWeight widen(HqqWeight weight, int inFeatures, Arena arena) {
        HqqGeometry old = weight.geometry();
        int group = old.groupSize();
        boolean fits =
                old.axis() == 1
                        ? old.inFeatures() % group == 0 && inFeatures % group == 0
                        : old.outFeatures() % group == 0;
        if (!fits || inFeatures < old.inFeatures()) {
            throw new VectuneException(
                    "widening from "
                            + old.inFeatures()
                            + " to "
                            + inFeatures
                            + " input features: expected a larger width, and groups of "
                            + group
                            + " on axis "
                            + old.axis()
                            + " that do not straddle; use the virtual form, which needs no groups");
        }
        HqqConfig config = withPlainMeta(weight.config(), group);
        HqqGeometry geometry = new HqqGeometry(old.outFeatures(), inFeatures, group, old.axis(), old.packing());
        return new HqqWeight(
                config,
                geometry,
                packed(weight, geometry, arena),
                meta(weight, geometry, weight.scaleMeta(), 1, arena),
                meta(weight, geometry, weight.zeroMeta(), 0, arena));
    }

    private static HqqConfig withPlainMeta(HqqConfig config, int groupSize) {
        boolean channel = config.groupSize() == HqqConfig.CHANNEL && config.axis() == 1;
        return new HqqConfig(
                config.bits(),
                channel ? groupSize : config.groupSize(),
                config.axis(),
                config.optimize(),
                config.roundZero(),
                config.kappaSchedule(),
                config.computeDtype(),
                HqqMetaConfig.PLAIN,
                HqqMetaConfig.PLAIN,
                config.viewAsFloat());
    }

    private static MemorySegment packed(HqqWeight weight, HqqGeometry geometry, Arena arena) {
        HqqPacking packing = geometry.packing();
        MemorySegment packed = arena.allocate(geometry.packedBytes(), Tensor.ALIGNMENT_BYTES);
        long words = geometry.words();
        int columns = weight.inFeatures();
        for (int row = 0; row < weight.outFeatures(); row++) {
            for (int column = 0; column < columns; column++) {
                long flat = (long) row * geometry.inFeatures() + column;
                int bits = weight.code(row, column) << packing.shift((int) (flat / words));
                long word = flat % words;
                if (packing.wordType() == DType.I32) {
                    packed.set(Tensor.INT, 4 * word, packed.get(Tensor.INT, 4 * word) | bits);
                } else {
                    packed.set(Tensor.BYTE, word, (byte) (packed.get(Tensor.BYTE, word) | bits));
                }
            }
        }
        return packed;
    }

    /// The scales or zero points of old groups at their new places, `fresh` for new groups.
    private static HqqMeta meta(HqqWeight weight, HqqGeometry geometry, HqqMeta old, float fresh, Arena arena) {
        HqqGeometry before = weight.geometry();
        Tensor values = Tensor.allocate(arena, DType.F32, geometry.parameterShape());
        for (int group = 0; group < geometry.groups(); group++) {
            values.setFloat(group, fresh);
        }
        int step = geometry.axis() == 1 ? geometry.groupSize() : 1;
        int rows = geometry.axis() == 1 ? before.outFeatures() : before.outFeatures() / geometry.groupSize();
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < before.inFeatures(); column += step) {
                int from = before.groupOf((long) row * before.inFeatures() + column);
                int to = geometry.groupOf((long) row * geometry.inFeatures() + column);
                values.setFloat(to, old.decoded().getAtIndex(Tensor.FLOAT, from));
            }
        }
        return HqqMeta.plain(arena, FloatCast.of(arena, values, typeOf(weight, old)));
    }

    private static DType typeOf(HqqWeight weight, HqqMeta meta) {
        return meta instanceof HqqMeta.Plain plain ? plain.values().dtype() : weight.computeDtype();
    }

    /// The weight times a factor, folded into its scales, which become floats.
    static HqqWeight scale(HqqWeight weight, float factor, Arena arena) {
        HqqGeometry geometry = weight.geometry();
        Tensor values = Tensor.allocate(arena, DType.F32, geometry.parameterShape());
        for (int group = 0; group < geometry.groups(); group++) {
            values.setFloat(group, weight.scale(group) * factor);
        }
        HqqMeta scales = HqqMeta.plain(arena, FloatCast.of(arena, values, typeOf(weight, weight.scaleMeta())));
        HqqConfig config = weight.config().withMeta(HqqMetaConfig.PLAIN, weight.config().zeroMeta());
        return new HqqWeight(config, geometry, weight.packed(), scales, weight.zeroMeta());
    }
}
