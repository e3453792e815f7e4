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
/// divide the rows. Then scales and zero points are a matrix, (outFeatures, groups of a row) on axis 1 and (outFeatures
/// / group, inFeatures) on axis 0, that gets columns as the codes do.
///
/// What stays and what cannot:
/// - **Packed words.** Where a slot holds whole rows of the weight, old rows of words are copied and new words stand
///   behind each of them. That is so on axis 0 in all widths, and on axis 1 if the slots of a word divide outFeatures.
///   Otherwise the boundaries between slots lie inside rows and move with the width (`3bit_32` of 3072 rows: 10 does
///   not divide them), so that the format itself wants other words: codes move to their new slots, some words at a
///   time, and keep their value.
/// - **Plain scales and zero points** keep their bits and their type.
/// - **Quantized ones** stay 8-bit codes where that is possible (see [HqqMetaExpansion]), with the same bits once
///   decoded.
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
        HqqGeometry geometry = new HqqGeometry(old.outFeatures(), inFeatures, group, old.axis(), old.packing());
        HqqMetaExpansion metaExpansion = new HqqMetaExpansion(old, geometry, weight.computeDtype());
        HqqMeta scale = metaExpansion.widen(weight.scaleMeta(), 1, arena);
        HqqMeta zero = metaExpansion.widen(weight.zeroMeta(), 0, arena);
        return new HqqWeight(
                config(weight.config(), group).withMeta(scale.config(), zero.config()),
                geometry,
                packed(weight.codes(), geometry, arena),
                scale,
                zero);
    }

    /// The group size by its number: one group a row would be a larger one now.
    private static HqqConfig config(HqqConfig config, int groupSize) {
        return config.groupSize() == HqqConfig.CHANNEL && config.axis() == 1 ? config.withGroups(groupSize, 1) : config;
    }

    private static MemorySegment packed(HqqCodes old, HqqGeometry geometry, Arena arena) {
        MemorySegment packed = arena.allocate(geometry.packedBytes(), Tensor.ALIGNMENT_BYTES);
        int rows = geometry.outFeatures();
        int columns = old.geometry().inFeatures();
        HqqPacking packing = geometry.packing();
        long rowsOfWords = old.words() / columns;
        if (rowsOfWords * columns == old.words() && rowsOfWords * geometry.inFeatures() == geometry.words()) {
            int bytes = packing.wordBytes();
            long oldRow = (long) columns * bytes;
            long newRow = (long) geometry.inFeatures() * bytes;
            for (long row = 0; row < rowsOfWords; row++) {
                MemorySegment.copy(old.packed(), row * oldRow, packed, row * newRow, oldRow);
            }
            return packed;
        }
        for (int row = 0; row < rows; row++) {
            move(old, (long) row * columns, geometry, packed, (long) row * geometry.inFeatures(), columns);
        }
        return packed;
    }

    /// Moves codes of consecutive elements to where they belong in words that are still zero there.
    private static void move(
            HqqCodes old, long fromFlat, HqqGeometry geometry, MemorySegment packed, long toFlat, int count) {
        HqqPacking packing = geometry.packing();
        int bytes = packing.wordBytes();
        long newWords = geometry.words();
        for (int done = 0; done < count; ) {
            long from = fromFlat + done;
            long to = toFlat + done;
            int oldSlot = (int) (from / old.words());
            int newSlot = (int) (to / newWords);
            long left = Math.min((oldSlot + 1) * old.words() - from, (newSlot + 1) * newWords - to);
            int run = (int) Math.min(count - done, left);
            moveWords(
                    old.packed().asSlice((from - oldSlot * old.words()) * bytes, (long) run * bytes),
                    packing.shift(oldSlot),
                    packed.asSlice((to - newSlot * newWords) * bytes, (long) run * bytes),
                    packing.shift(newSlot),
                    packing);
            done += run;
        }
    }

    /// The codes of one slot of words, into another slot of as many words: eight bytes at a time, as no code leaves its
    /// word.
    private static void moveWords(
            MemorySegment from, int fromShift, MemorySegment to, int toShift, HqqPacking packing) {
        int wordBits = 8 * packing.wordBytes();
        long mask = 0;
        for (int bit = 0; bit < Long.SIZE; bit += wordBits) {
            mask |= (long) packing.mask() << bit;
        }
        long bytes = from.byteSize();
        long at = 0;
        for (; at + Long.BYTES <= bytes; at += Long.BYTES) {
            long codes = from.get(Tensor.LONG, at) >>> fromShift & mask;
            to.set(Tensor.LONG, at, to.get(Tensor.LONG, at) | codes << toShift);
        }
        if (packing.wordBytes() == Integer.BYTES && at < bytes) {
            int code = from.get(Tensor.INT, at) >>> fromShift & packing.mask();
            to.set(Tensor.INT, at, to.get(Tensor.INT, at) | code << toShift);
            return;
        }
        for (; at < bytes; at++) {
            int code = from.get(Tensor.BYTE, at) >>> fromShift & packing.mask();
            to.set(Tensor.BYTE, at, (byte) (to.get(Tensor.BYTE, at) | code << toShift));
        }
    }

    /// The weight times a factor, folded into its scales, which become floats.
    static HqqWeight scale(HqqWeight weight, float factor, Arena arena) {
        HqqGeometry geometry = weight.geometry();
        Tensor values = Tensor.allocate(arena, DType.F32, geometry.parameterShape());
        for (int group = 0; group < geometry.groups(); group++) {
            values.setFloat(group, weight.scale(group) * factor);
        }
        HqqMeta scales =
                HqqMeta.plain(arena, FloatCast.of(arena, values, weight.scaleMeta().floatType(weight.computeDtype())));
        HqqConfig config = weight.config().withMeta(HqqMetaConfig.PLAIN, weight.config().zeroMeta());
        return new HqqWeight(config, geometry, weight.packed(), scales, weight.zeroMeta());
    }
}
