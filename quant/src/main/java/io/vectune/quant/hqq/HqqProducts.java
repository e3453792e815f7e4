package io.vectune.quant.hqq;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// The fused product of a weight with few rows of input: packed words are read once, nothing is written but y.
///
/// Work is split into units of rows that read the same memory:
///
/// - axis 1: the rows that start at the same place of each slot share words;
/// - axis 0, where the rows divide by the group size: the rows of one group share scales and zero points.
///
/// y = x Wᵀ in f32 with fused multiply-add. The order of the sums depends on the format and on the vector width only.
interface HqqProducts {
    /// The kernels of the active tier.
    HqqProducts ACTIVE = KernelTier.active() == KernelTier.VECTOR ? new HqqVectorProducts() : new HqqScalarProducts();

    /// The most tokens for which this beats decoding panels for the blocked product; 0 for weights that have no kernel.
    int fewTokens(HqqCodes codes);

    /// The product for one unit.
    ///
    /// @param prepared for each token its inputs; from `sums` on for each token the sums of its inputs over the groups
    ///   of a row; then, where [#inBlocks], for each token its inputs as [#arrange] orders them
    /// @param y (tokens, outFeatures)
    void multiply(HqqCodes codes, int unit, float[] prepared, int sums, int tokens, Matrix y);

    /// Number of units of a weight.
    static int units(HqqCodes codes) {
        HqqGeometry geometry = codes.geometry();
        if (groupedRows(geometry)) {
            return geometry.outFeatures() / geometry.groupSize();
        }
        return Math.toIntExact((codes.words() + geometry.inFeatures() - 1) / geometry.inFeatures());
    }

    /// Whether, on axis 0, a group is a set of rows in one column.
    static boolean groupedRows(HqqGeometry geometry) {
        return geometry.axis() == 0 && geometry.outFeatures() % geometry.groupSize() == 0;
    }

    /// Whether rows are made of blocks of one vector of bytes, none of which leaves its group.
    static boolean inBlocks(HqqGeometry geometry) {
        int block = BLOCK;
        return geometry.axis() == 1
                && geometry.packing() != HqqPacking.I32_3
                && Integer.bitCount(geometry.groupSize()) == 1
                && geometry.groupSize() >= block
                && geometry.inFeatures() % geometry.groupSize() == 0
                && (long) geometry.outFeatures() % geometry.packing().slots() == 0;
    }

    /// Bytes of one vector; 0 lanes in the scalar tier count as one.
    int BLOCK = 4 * Math.max(KernelTier.choice().vectorBits() / 32, 1);

    /// Orders one row of input by blocks: first the columns of byte 0 of all lanes, then those of byte 1, ...
    static void arrange(float[] values, int from, int count, int to) {
        int lanes = BLOCK / 4;
        for (int block = 0; block < count; block += BLOCK) {
            for (int part = 0; part < 4; part++) {
                for (int lane = 0; lane < lanes; lane++) {
                    values[to + block + part * lanes + lane] = values[from + block + 4 * lane + part];
                }
            }
        }
    }

    /// The first row that starts in a slot or behind it.
    static long firstRow(HqqCodes codes, int slot) {
        int inFeatures = codes.geometry().inFeatures();
        return (slot * codes.words() + inFeatures - 1) / inFeatures;
    }
}
