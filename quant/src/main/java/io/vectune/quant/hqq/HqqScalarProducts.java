package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;

/// The scalar tier of [HqqProducts]: one row after the other in formula order.
final class HqqScalarProducts implements HqqProducts {
    private static final int FEW_TOKENS = 6;

    @Override
    public int fewTokens(HqqCodes codes) {
        return FEW_TOKENS;
    }

    @Override
    public void multiply(HqqCodes codes, int unit, float[] prepared, int sums, int tokens, Matrix y) {
        HqqGeometry geometry = codes.geometry();
        if (HqqProducts.groupedRows(geometry)) {
            int apart = geometry.outFeatures() / geometry.groupSize();
            for (int row = unit; row < geometry.outFeatures(); row += apart) {
                multiplyRow(codes, row, prepared, tokens, y);
            }
            return;
        }
        for (int slot = 0; slot < geometry.packing().slots(); slot++) {
            long row = HqqProducts.firstRow(codes, slot) + unit;
            if (row < Math.min(HqqProducts.firstRow(codes, slot + 1), geometry.outFeatures())) {
                multiplyRow(codes, (int) row, prepared, tokens, y);
            }
        }
    }

    private static void multiplyRow(HqqCodes codes, int row, float[] x, int tokens, Matrix y) {
        int inFeatures = codes.geometry().inFeatures();
        long flat = (long) row * inFeatures;
        for (int token = 0; token < tokens; token++) {
            float sum = 0;
            for (int i = 0; i < inFeatures; i++) {
                sum = Math.fma(HqqScalarKernels.weight(codes, flat + i), x[token * inFeatures + i], sum);
            }
            y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
        }
    }
}
