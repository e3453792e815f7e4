package io.vectune.quant.hqq;

import static io.vectune.quant.hqq.HqqVectorKernels.floats;
import static io.vectune.quant.hqq.HqqVectorKernels.wideWords;
import static io.vectune.quant.hqq.HqqVectorKernels.word;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [HqqProducts]: one kernel for each way in which codes lie, for what `lanes` has no kernel for. The
/// rest (weights rounded to F16, 8 and 3 bits rounded to BF16, groups that straddle rows) is decoded in panels, however few the tokens.
///
/// On axis 1 the zero points are taken out of the inner loop:
///
///     y[o] = sum_g scale[o,g] * sum_i code[o,i] x[i]  -  sum_g scale[o,g] zeroPoint[o,g] sum_i x[i]
///
/// Kernels stay small: C2 stops inlining in large methods, and then every vector becomes an object.
final class HqqVectorProducts implements HqqProducts {
    private static final VectorSpecies<Float> F32 = Lanes.F32;
    private static final VectorSpecies<Integer> I32 = Lanes.I32;
    private static final int LANES = Lanes.COUNT;
    private static final int FEW_TOKENS = 6;

    /// 0, 1, 2, ...: with 16 lanes, all codes of four bits.
    private static final FloatVector LEVELS = FloatVector.zero(F32).addIndex(1);

    @Override
    public int fewTokens(HqqCodes codes) {
        HqqGeometry geometry = codes.geometry();
        boolean plain = codes.computeDtype() == DType.F32;
        boolean direct =
                geometry.axis() == 0 ? plain && together(codes) : byTable(codes) || (plain && inRuns(geometry));
        return direct ? FEW_TOKENS : 0;
    }

    @Override
    public void multiply(HqqCodes codes, int unit, float[] prepared, int sums, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        if (geometry.axis() == 0) {
            int apart = geometry.outFeatures() / geometry.groupSize();
            int rowsOfSlot = (int) (codes.words() / inFeatures);
            for (int row = unit; row < rowsOfSlot; row += apart) {
                multiplyAcross(codes, row, prepared, tokens, y);
            }
            return;
        }
        boolean inBlocks = HqqProducts.inBlocks(geometry);
        int slots = geometry.packing().slots();
        int blocks = sums + tokens * (inFeatures / geometry.groupSize());
        for (int slot = 0; slot < slots; slot++) {
            long row = HqqProducts.firstRow(codes, slot) + unit;
            if (row < Math.min(HqqProducts.firstRow(codes, slot + 1), geometry.outFeatures())) {
                if (inBlocks) {
                    multiplyBlocks(codes, (int) row, prepared, sums, blocks, tokens, y);
                } else {
                    multiplyGroups(codes, (int) row, prepared, sums, tokens, y);
                }
            }
        }
    }

    /// Whether, on axis 0, the rows of one row of bytes share their groups, so that they can be multiplied together.
    private static boolean together(HqqCodes codes) {
        HqqGeometry geometry = codes.geometry();
        int slots = geometry.packing().slots();
        return HqqProducts.groupedRows(geometry)
                && codes.words() % geometry.inFeatures() == 0
                && (slots == 2 || slots == 4 || slots == 8);
    }

    /// Whether rows are made of whole runs that stay in their groups: four vectors of words, two of bytes.
    private static boolean inRuns(HqqGeometry geometry) {
        int groupSize = geometry.groupSize();
        boolean runs =
                geometry.packing() == HqqPacking.I32_3
                        ? groupSize % (4 * LANES) == 0 && Integer.bitCount(groupSize) == 1
                        : groupSize % (2 * LANES) == 0;
        return runs && geometry.inFeatures() % groupSize == 0;
    }

    /// sum_g scale * zeroPoint * (sum of the inputs of g) over the groups of a row.
    private static float shift(HqqCodes codes, int group, int count, float[] sums, int sumsFrom) {
        FloatVector total = FloatVector.zero(F32);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector product = floats(codes.scale(), group + i).mul(floats(codes.zeroPoint(), group + i));
            total = product.fma(FloatVector.fromArray(F32, sums, sumsFrom + i), total);
        }
        float sum = Lanes.sum(total);
        for (; i < count; i++) {
            sum = Math.fma(codes.scale(group + i) * codes.zeroPoint(group + i), sums[sumsFrom + i], sum);
        }
        return sum;
    }

    /// Whether the weights of all codes of a group fit into one vector, rounded to BF16.
    private static boolean byTable(HqqCodes codes) {
        HqqGeometry geometry = codes.geometry();
        return codes.computeDtype() == DType.BF16
                && LANES == 16
                && geometry.packing().slotBits() <= 4
                && HqqProducts.inBlocks(geometry);
    }

    /// Axis 1, bytes, one row: four bytes of a lane are four columns, which `x` from `blocks` on is arranged for.
    private static void multiplyBlocks(HqqCodes codes, int row, float[] x, int sums, int blocks, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        int groupsOfRow = inFeatures / geometry.groupSize();
        int group = row * groupsOfRow;
        long flat = (long) row * inFeatures;
        for (int token = 0; token < tokens; token++) {
            int xFrom = blocks + token * inFeatures;
            float sum =
                    codes.computeDtype() == DType.F32
                            ? rowOfBlocks(codes, flat, x, xFrom)
                                    - shift(codes, group, groupsOfRow, x, sums + token * groupsOfRow)
                            : rowByTable(codes, flat, x, xFrom);
            y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
        }
    }

    /// sum_g scale * sum_i code_i x_i: the part of the zero points is subtracted for whole groups.
    private static float rowOfBlocks(HqqCodes codes, long flat, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        MemorySegment scale = codes.scale();
        int log = Integer.numberOfTrailingZeros(geometry.groupSize());
        int inFeatures = geometry.inFeatures();
        int slot = (int) (flat / codes.words());
        long word = flat - slot * codes.words();
        int shift = packing.shift(slot);
        int mask = packing.mask();
        long scaleAt = 4 * (flat >> log);
        FloatVector total = FloatVector.zero(F32);
        for (int i = 0; i < inFeatures; i += 4 * LANES) {
            IntVector bytes = IntVector.fromMemorySegment(I32, packed, word + i, ByteOrder.LITTLE_ENDIAN);
            FloatVector x0 = FloatVector.fromArray(F32, x, xFrom + i);
            FloatVector x1 = FloatVector.fromArray(F32, x, xFrom + i + LANES);
            FloatVector x2 = FloatVector.fromArray(F32, x, xFrom + i + 2 * LANES);
            FloatVector x3 = FloatVector.fromArray(F32, x, xFrom + i + 3 * LANES);
            IntVector code0 = bytes.lanewise(VectorOperators.LSHR, shift).and(mask);
            IntVector code1 = bytes.lanewise(VectorOperators.LSHR, shift + 8).and(mask);
            IntVector code2 = bytes.lanewise(VectorOperators.LSHR, shift + 16).and(mask);
            IntVector code3 = bytes.lanewise(VectorOperators.LSHR, shift + 24).and(mask);
            FloatVector part0 = Lanes.toFloat(code1).fma(x1, Lanes.toFloat(code0).mul(x0));
            FloatVector part1 = Lanes.toFloat(code3).fma(x3, Lanes.toFloat(code2).mul(x2));
            FloatVector scales = FloatVector.broadcast(F32, scale.get(Tensor.FLOAT, scaleAt + 4L * (i >> log)));
            total = part0.add(part1).fma(scales, total);
        }
        return Lanes.sum(total);
    }

    /// BF16, four bits or less: the weights of all codes of a group are a table with the right roundings.
    private static float rowByTable(HqqCodes codes, long flat, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        int log = Integer.numberOfTrailingZeros(geometry.groupSize());
        int inFeatures = geometry.inFeatures();
        int slot = (int) (flat / codes.words());
        long word = flat - slot * codes.words();
        int shift = packing.shift(slot);
        int mask = packing.mask();
        int group = (int) (flat >> log);
        FloatVector sum = FloatVector.zero(F32);
        for (int i = 0; i < inFeatures; i += 4 * LANES) {
            float zeroPoint = codes.zeroPoint(group + (i >> log));
            float scale = codes.scale(group + (i >> log));
            IntVector table =
                    HqqVectorLevels.roundBf16(HqqVectorLevels.roundBf16(LEVELS.sub(zeroPoint)).mul(scale))
                            .reinterpretAsInts();
            IntVector bytes = IntVector.fromMemorySegment(I32, packed, word + i, ByteOrder.LITTLE_ENDIAN);
            for (int part = 0; part < 4; part++) {
                FloatVector input = FloatVector.fromArray(F32, x, xFrom + i + part * LANES);
                sum = lookup(bytes, shift + 8 * part, mask, table).fma(input, sum);
            }
        }
        return Lanes.sum(sum);
    }

    private static FloatVector lookup(IntVector bytes, int shift, int mask, IntVector table) {
        return bytes.lanewise(VectorOperators.LSHR, shift).and(mask).selectFrom(table).reinterpretAsFloats();
    }

    /// Axis 1, F32, one row of whole groups of pairs of vectors; no group leaves its slot.
    private static void multiplyGroups(HqqCodes codes, int row, float[] x, int sums, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        int groupsOfRow = inFeatures / geometry.groupSize();
        boolean wide = geometry.packing() == HqqPacking.I32_3;
        long flat = (long) row * inFeatures;
        for (int token = 0; token < tokens; token++) {
            float sum =
                    wide
                            ? rowOfWords(codes, flat, x, token * inFeatures)
                                    - shift(codes, row * groupsOfRow, groupsOfRow, x, sums + token * groupsOfRow)
                            : rowOfPairs(codes, flat, x, token * inFeatures);
            y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
        }
    }

    /// Runs of two vectors of bytes; no run leaves its group.
    private static float rowOfPairs(HqqCodes codes, long flat, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        int groupSize = geometry.groupSize();
        int inFeatures = geometry.inFeatures();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int shift = packing.shift(slot);
        int mask = packing.mask();
        int group = (int) (flat / groupSize);
        int within = 0;
        FloatVector total = FloatVector.zero(F32);
        for (int i = 0; i < inFeatures; i += 2 * LANES) {
            float zeroPoint = codes.zeroPoint(group);
            FloatVector sum = FloatVector.zero(F32);
            for (int part = 0; part < 2; part++) {
                IntVector code = Lanes.unsignedBytes(packed, word + (long) part * LANES);
                FloatVector level = Lanes.toFloat(code.lanewise(VectorOperators.LSHR, shift).and(mask));
                sum = level.sub(zeroPoint).fma(FloatVector.fromArray(F32, x, xFrom + i + part * LANES), sum);
            }
            total = sum.fma(FloatVector.broadcast(F32, codes.scale(group)), total);
            word += 2L * LANES;
            within += 2 * LANES;
            if (within == groupSize) {
                within = 0;
                group++;
                if (word == words) {
                    word = 0;
                    shift -= packing.slotBits();
                }
            }
        }
        return Lanes.sum(total);
    }

    /// Runs of four vectors of 32-bit words; the part of the zero points is subtracted for whole groups.
    private static float rowOfWords(HqqCodes codes, long flat, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        MemorySegment scale = codes.scale();
        int log = Integer.numberOfTrailingZeros(geometry.groupSize());
        int inFeatures = geometry.inFeatures();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int shift = packing.shift(slot);
        int mask = packing.mask();
        long scaleAt = 4 * (flat >> log);
        FloatVector total = FloatVector.zero(F32);
        for (int i = 0; i < inFeatures; i += 4 * LANES) {
            FloatVector sum = FloatVector.zero(F32);
            for (int part = 0; part < 4; part++) {
                IntVector code = wideWords(packed, word + (long) part * LANES);
                FloatVector level = Lanes.toFloat(code.lanewise(VectorOperators.LSHR, shift).and(mask));
                sum = level.fma(FloatVector.fromArray(F32, x, xFrom + i + part * LANES), sum);
            }
            FloatVector scales = FloatVector.broadcast(F32, scale.get(Tensor.FLOAT, scaleAt + 4L * (i >> log)));
            total = sum.fma(scales, total);
            word += 4L * LANES;
            if (word == words) {
                word = 0;
                shift -= packing.slotBits();
            }
        }
        return Lanes.sum(total);
    }

    /// Axis 0, rows of one byte row and one group: the scaled input is made once for all slots.
    private static void multiplyAcross(HqqCodes codes, int row, float[] x, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        int slots = geometry.packing().slots();
        int apart = geometry.outFeatures() / slots;
        for (int token = 0; token < tokens; token++) {
            long yOffset = y.rowOffset(token) + 4L * row;
            for (int slot = 0; slot < slots; slot += 2) {
                twoAcross(codes, row, slot, apart, x, token * inFeatures, y.segment(), yOffset);
            }
        }
    }

    private static void twoAcross(
            HqqCodes codes, int row, int slot, int apart, float[] x, int xFrom, MemorySegment y, long yOffset) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        int inFeatures = geometry.inFeatures();
        long word = (long) row * inFeatures;
        int group = (int) (word % codes.groups());
        int mask = packing.mask();
        int shift0 = packing.shift(slot);
        int shift1 = packing.shift(slot + 1);
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= inFeatures - LANES; i += LANES) {
            IntVector bytes = Lanes.unsignedBytes(packed, word + i);
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scaled = floats(codes.scale(), group + i).mul(FloatVector.fromArray(F32, x, xFrom + i));
            FloatVector code0 = Lanes.toFloat(bytes.lanewise(VectorOperators.LSHR, shift0).and(mask));
            FloatVector code1 = Lanes.toFloat(bytes.lanewise(VectorOperators.LSHR, shift1).and(mask));
            sum0 = code0.sub(zeros).fma(scaled, sum0);
            sum1 = code1.sub(zeros).fma(scaled, sum1);
        }
        float rest0 = 0;
        float rest1 = 0;
        for (; i < inFeatures; i++) {
            int bits = word(packed, false, word + i);
            float zeroPoint = codes.zeroPoint(group + i);
            float scaled = codes.scale(group + i) * x[xFrom + i];
            rest0 = Math.fma(((bits >>> shift0) & mask) - zeroPoint, scaled, rest0);
            rest1 = Math.fma(((bits >>> shift1) & mask) - zeroPoint, scaled, rest1);
        }
        y.set(Tensor.FLOAT, yOffset + 4L * slot * apart, Lanes.sum(sum0) + rest0);
        y.set(Tensor.FLOAT, yOffset + 4L * (slot + 1) * apart, Lanes.sum(sum1) + rest1);
    }
}
