package io.vectune.quant.lanes;

/// Where the layouts of the fused products take codes and group values from.
///
///     weight[row, column] = factor[row, group] * code[row, column] + offset[row, group]
@FunctionalInterface
public interface RowSource {
    /// Reads one row.
    ///
    /// @param codes [inFeatures], each an unsigned byte; empty if codes are read where they are stored
    /// @param factor a value for each of the equal runs of columns that this array has elements for
    /// @param offset likewise
    void read(int row, byte[] codes, float[] factor, float[] offset);
}
