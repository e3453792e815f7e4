package io.vectune.quant.bnb;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.ByteRows;
import io.vectune.quant.lanes.Lanes;
import io.vectune.quant.lanes.ReadAhead;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// The vector tier: bytes widened to f32 lanes, four independent sums.
final class Int8Vector implements Int8Kernels {
    private static final int UNROLLED = 4 * COUNT;

    @Override
    public void decode(MemorySegment codes, long offset, int count, float absmax, float[] tile, int tileOffset) {
        int i = 0;
        for (; i + COUNT <= count; i += COUNT) {
            Lanes.toFloat(Lanes.signedBytes(codes, offset + i))
                    .mul(absmax)
                    .mul(Int8Weight.STEP)
                    .intoArray(tile, tileOffset + i);
        }
        for (; i < count; i++) {
            tile[tileOffset + i] = codes.get(Tensor.BYTE, offset + i) * absmax * Int8Weight.STEP;
        }
    }

    @Override
    public float dot(MemorySegment codes, long offset, int count, float[] x, int xOffset) {
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        FloatVector sum2 = FloatVector.zero(F32);
        FloatVector sum3 = FloatVector.zero(F32);
        int i = 0;
        for (; i + UNROLLED <= count; i += UNROLLED) {
            long at = offset + i;
            int from = xOffset + i;
            sum0 = Lanes.toFloat(Lanes.signedBytes(codes, at)).fma(FloatVector.fromArray(F32, x, from), sum0);
            sum1 =
                    Lanes.toFloat(Lanes.signedBytes(codes, at + COUNT))
                            .fma(FloatVector.fromArray(F32, x, from + COUNT), sum1);
            sum2 =
                    Lanes.toFloat(Lanes.signedBytes(codes, at + 2L * COUNT))
                            .fma(FloatVector.fromArray(F32, x, from + 2 * COUNT), sum2);
            sum3 =
                    Lanes.toFloat(Lanes.signedBytes(codes, at + 3L * COUNT))
                            .fma(FloatVector.fromArray(F32, x, from + 3 * COUNT), sum3);
        }
        for (; i + COUNT <= count; i += COUNT) {
            sum0 =
                    Lanes.toFloat(Lanes.signedBytes(codes, offset + i))
                            .fma(FloatVector.fromArray(F32, x, xOffset + i), sum0);
        }
        float sum = Lanes.sum(sum0.add(sum1).add(sum2.add(sum3)));
        for (; i < count; i++) {
            sum = Math.fma((float) codes.get(Tensor.BYTE, offset + i), x[xOffset + i], sum);
        }
        return sum;
    }

    @Override
    public void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset) {
        if (inFeatures % ByteRows.COLUMNS == 0) {
            ByteRows.arrange(x, offset, inFeatures, prepared, preparedOffset);
        } else {
            MemorySegment.copy(x, Tensor.FLOAT, offset, prepared, preparedOffset, inFeatures);
        }
    }

    @Override
    public void multiply(Int8Weight weight, int rowFrom, int rowTo, float[] prepared, int tokens, Matrix y) {
        MemorySegment codes = weight.codes();
        int inFeatures = weight.inFeatures();
        // Whole pairs of rows.
        int block = 2 * Math.max(1, ReadAhead.BYTES / (2 * Math.max(1, inFeatures)));
        boolean ahead = true;
        for (int from = rowFrom; from < rowTo; from += block) {
            int to = Math.min(from + block, rowTo);
            if ((from - rowFrom) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(codes, (long) from * inFeatures, (long) (to - from) * inFeatures);
            } else if (ahead) {
                ReadAhead.read(codes, (long) from * inFeatures, (long) (to - from) * inFeatures);
            }
            for (int token = 0; token < tokens; token++) {
                if (inFeatures % ByteRows.COLUMNS == 0) {
                    inPairs(weight, from, to, prepared, token * inFeatures, y.segment(), y.rowOffset(token));
                } else {
                    inTurn(weight, from, to, prepared, token * inFeatures, y.segment(), y.rowOffset(token));
                }
            }
        }
    }

    private static void inPairs(
            Int8Weight weight, int rowFrom, int rowTo, float[] x, int xFrom, MemorySegment y, long to) {
        long inFeatures = weight.inFeatures();
        for (int row = rowFrom; row < rowTo; row += 2) {
            int next = Math.min(row + 1, rowTo - 1);
            ByteRows.signed(
                    weight.codes(),
                    row * inFeatures,
                    next * inFeatures,
                    weight.inFeatures(),
                    x,
                    xFrom,
                    y,
                    to + 4L * row,
                    weight.absmax(row) * Int8Weight.STEP,
                    to + 4L * next,
                    weight.absmax(next) * Int8Weight.STEP);
        }
    }

    private void inTurn(Int8Weight weight, int rowFrom, int rowTo, float[] x, int xFrom, MemorySegment y, long to) {
        for (int row = rowFrom; row < rowTo; row++) {
            float sum = dot(weight.codes(), (long) row * weight.inFeatures(), weight.inFeatures(), x, xFrom);
            y.set(Tensor.FLOAT, to + 4L * row, sum * (weight.absmax(row) * Int8Weight.STEP));
        }
    }
}
