package io.vectune.quant.hqq;

import static io.vectune.quant.hqq.HqqVectorKernels.floats;
import static io.vectune.quant.hqq.HqqVectorKernels.weight;
import static io.vectune.quant.hqq.HqqVectorKernels.weights;
import static io.vectune.quant.hqq.HqqVectorKernels.word;
import static io.vectune.quant.hqq.HqqVectorKernels.words;

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

/// The vector tier of [HqqProducts]: one kernel for each way in which codes lie.
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
    private static final IntVector IOTA = IntVector.zero(I32).addIndex(1);

    /// 0, 1, 2, ...: with 16 lanes, all codes of four bits.
    private static final FloatVector LEVELS = FloatVector.zero(F32).addIndex(1);

    @Override
    public void multiply(HqqCodes codes, int unit, float[] prepared, int sums, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        int slots = geometry.packing().slots();
        boolean plain = codes.computeDtype() == DType.F32;
        boolean aligned = codes.words() % inFeatures == 0;
        if (HqqProducts.groupedRows(geometry)) {
            int apart = geometry.outFeatures() / geometry.groupSize();
            boolean together = plain && aligned && (slots == 2 || slots == 4 || slots == 8);
            int rowsOfSlot = (int) (codes.words() / inFeatures);
            for (int row = unit; row < (together ? rowsOfSlot : geometry.outFeatures()); row += apart) {
                if (together) {
                    multiplyAcross(codes, row, prepared, tokens, y);
                } else {
                    multiplyRow(codes, row, prepared, tokens, y);
                }
            }
            return;
        }
        boolean wholeGroups =
                geometry.axis() == 1 && geometry.groupSize() % LANES == 0 && inFeatures % geometry.groupSize() == 0;
        boolean inBlocks = tokens < 4 && HqqProducts.inBlocks(geometry) && (plain || byTable(codes));
        int blocks = sums + tokens * (inFeatures / geometry.groupSize());
        for (int slot = 0; slot < slots; slot++) {
            long row = HqqProducts.firstRow(codes, slot) + unit;
            if (row < Math.min(HqqProducts.firstRow(codes, slot + 1), geometry.outFeatures())) {
                if (inBlocks) {
                    multiplyBlocks(codes, (int) row, prepared, sums, blocks, tokens, y);
                } else if (wholeGroups && (plain || tokens >= 4)) {
                    multiplyGroups(codes, (int) row, prepared, sums, tokens, y);
                } else {
                    multiplyRow(codes, (int) row, prepared, tokens, y);
                }
            }
        }
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
        return codes.computeDtype() == DType.BF16 && LANES == 16 && codes.geometry().packing().slotBits() <= 4;
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
                    HqqVectorKernels.roundBf16(HqqVectorKernels.roundBf16(LEVELS.sub(zeroPoint)).mul(scale))
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

    /// Axis 1, one row of whole groups of whole vectors; no group leaves its slot.
    private static void multiplyGroups(HqqCodes codes, int row, float[] x, int sums, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        int inFeatures = geometry.inFeatures();
        int groupsOfRow = inFeatures / geometry.groupSize();
        boolean plain = codes.computeDtype() == DType.F32;
        boolean wide = geometry.packing() == HqqPacking.I32_3;
        boolean quads = geometry.groupSize() % (4 * LANES) == 0 && Integer.bitCount(geometry.groupSize()) == 1;
        long flat = (long) row * inFeatures;
        int token = 0;
        for (; token <= tokens - 4; token += 4) {
            rowTimesFour(codes, wide, flat, x, token * inFeatures, y, token, row);
        }
        for (; token < tokens; token++) {
            float sum;
            if (plain && wide && quads) {
                sum =
                        rowOfWords(codes, flat, x, token * inFeatures)
                                - shift(codes, row * groupsOfRow, groupsOfRow, x, sums + token * groupsOfRow);
            } else if (plain && geometry.groupSize() % (2 * LANES) == 0) {
                sum = rowOfPairs(codes, wide, flat, x, token * inFeatures);
            } else {
                sum = rowAlong(codes, flat, inFeatures, x, token * inFeatures);
            }
            y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
        }
    }

    /// Runs of two vectors of bytes or of 32-bit words; no run leaves its group.
    private static float rowOfPairs(HqqCodes codes, boolean wide, long flat, float[] x, int xFrom) {
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
                IntVector code = words(packed, wide, word + (long) part * LANES);
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
                IntVector code = words(packed, true, word + (long) part * LANES);
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

    /// One row with four tokens: codes are unpacked once.
    private static void rowTimesFour(
            HqqCodes codes, boolean wide, long flat, float[] x, int xFrom, Matrix y, int token, int row) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        MemorySegment packed = codes.packed();
        int rounding = HqqVectorKernels.rounding(codes.computeDtype());
        int groupSize = geometry.groupSize();
        int inFeatures = geometry.inFeatures();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int shift = packing.shift(slot);
        int mask = packing.mask();
        int group = (int) (flat / groupSize);
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        FloatVector sum2 = FloatVector.zero(F32);
        FloatVector sum3 = FloatVector.zero(F32);
        for (int from = 0; from < inFeatures; from += groupSize) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            for (int i = 0; i < groupSize; i += LANES) {
                IntVector code = words(packed, wide, word + i).lanewise(VectorOperators.LSHR, shift).and(mask);
                FloatVector w = weights(Lanes.toFloat(code), zeros, scales, rounding);
                int at = xFrom + from + i;
                sum0 = w.fma(FloatVector.fromArray(F32, x, at), sum0);
                sum1 = w.fma(FloatVector.fromArray(F32, x, at + inFeatures), sum1);
                sum2 = w.fma(FloatVector.fromArray(F32, x, at + 2 * inFeatures), sum2);
                sum3 = w.fma(FloatVector.fromArray(F32, x, at + 3 * inFeatures), sum3);
            }
            group++;
            word += groupSize;
            if (word == words) {
                word = 0;
                slot++;
                shift -= packing.slotBits();
            }
        }
        y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, Lanes.sum(sum0));
        y.segment().set(Tensor.FLOAT, y.rowOffset(token + 1) + 4L * row, Lanes.sum(sum1));
        y.segment().set(Tensor.FLOAT, y.rowOffset(token + 2) + 4L * row, Lanes.sum(sum2));
        y.segment().set(Tensor.FLOAT, y.rowOffset(token + 3) + 4L * row, Lanes.sum(sum3));
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

    /// Any geometry, compute type and packing.
    private static void multiplyRow(HqqCodes codes, int row, float[] x, int tokens, Matrix y) {
        int inFeatures = codes.geometry().inFeatures();
        long flat = (long) row * inFeatures;
        for (int token = 0; token < tokens; token++) {
            float sum =
                    codes.geometry().axis() == 0
                            ? rowAcross(codes, flat, inFeatures, x, token * inFeatures)
                            : rowAlong(codes, flat, inFeatures, x, token * inFeatures);
            y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
        }
    }

    /// Axis 1, any group size, compute type and packing.
    private static float rowAlong(HqqCodes codes, long flat, int count, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        int rounding = HqqVectorKernels.rounding(codes.computeDtype());
        MemorySegment packed = codes.packed();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int groupSize = geometry.groupSize();
        boolean small = HqqVectorKernels.isSmall(groupSize);
        int log = Integer.numberOfTrailingZeros(groupSize);
        int group = (int) (flat / groupSize);
        int within = (int) (flat - (long) group * groupSize);
        FloatVector sum = FloatVector.zero(F32);
        float rest = 0;
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(small ? count - done : Math.min(count - done, groupSize - within), words - word);
            int shift = packing.shift(slot);
            int i = 0;
            if (small) {
                for (; i <= run - LANES; i += LANES) {
                    FloatVector code = HqqVectorKernels.codes(words(packed, wide, word + i), shift, mask);
                    long at = flat + done + i;
                    IntVector lane = IOTA.add((int) at & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
                    FloatVector zeros = HqqVectorKernels.selected(codes.zeroPoint(), at >>> log, lane);
                    FloatVector scales = HqqVectorKernels.selected(codes.scale(), at >>> log, lane);
                    FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                    sum = weights(code, zeros, scales, rounding).fma(input, sum);
                }
            } else {
                FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
                FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
                for (; i <= run - LANES; i += LANES) {
                    FloatVector code = HqqVectorKernels.codes(words(packed, wide, word + i), shift, mask);
                    FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                    sum = weights(code, zeros, scales, rounding).fma(input, sum);
                }
            }
            for (; i < run; i++) {
                int code = (word(packed, wide, word + i) >>> shift) & mask;
                int own = small ? (int) ((flat + done + i) >>> log) : group;
                float w = weight(code, codes.zeroPoint(own), codes.scale(own), rounding);
                rest = Math.fma(w, x[xFrom + done + i], rest);
            }
            if (!small) {
                within += run;
                if (within == groupSize) {
                    within = 0;
                    group++;
                }
            }
            done += run;
            word += run;
            if (word == words) {
                word = 0;
                slot++;
            }
        }
        return Lanes.sum(sum) + rest;
    }

    /// Axis 0.
    private static float rowAcross(HqqCodes codes, long flat, int count, float[] x, int xFrom) {
        HqqPacking packing = codes.geometry().packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        int rounding = HqqVectorKernels.rounding(codes.computeDtype());
        MemorySegment packed = codes.packed();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int groups = codes.groups();
        int group = (int) (flat % groups);
        FloatVector sum = FloatVector.zero(F32);
        float rest = 0;
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(Math.min(count - done, groups - group), words - word);
            int shift = packing.shift(slot);
            int i = 0;
            for (; i <= run - LANES; i += LANES) {
                FloatVector code = HqqVectorKernels.codes(words(packed, wide, word + i), shift, mask);
                FloatVector zeros = floats(codes.zeroPoint(), group + i);
                FloatVector scales = floats(codes.scale(), group + i);
                FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                sum = weights(code, zeros, scales, rounding).fma(input, sum);
            }
            for (; i < run; i++) {
                int code = (word(packed, wide, word + i) >>> shift) & mask;
                float w = weight(code, codes.zeroPoint(group + i), codes.scale(group + i), rounding);
                rest = Math.fma(w, x[xFrom + done + i], rest);
            }
            done += run;
            group = group + run == groups ? 0 : group + run;
            word += run;
            if (word == words) {
                word = 0;
                slot++;
            }
        }
        return Lanes.sum(sum) + rest;
    }
}
