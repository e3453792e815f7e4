package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.MemorySegment;

/// Rows of an embedding table, of any weight format, by token id.
public final class Embedding {
    private static final ElementwiseKernel KERNEL = ElementwiseKernel.active();
    private static final int MIN_TOKENS = 16;
    private static final int MIN_COLUMNS = 64;

    private Embedding() {}

    /// out[t] = table[ids[t]].
    ///
    /// @param table (vocabSize, hiddenSize)
    /// @param ids at least out.rows() token ids
    /// @param out (tokens, hiddenSize)
    /// @throws IllegalArgumentException for an id outside the table
    public static void gather(Compute compute, Weight table, int[] ids, Matrix out) {
        int columns = table.inFeatures();
        Shapes.require("out", out, out.rows(), columns);
        requireIds(ids, out.rows(), table.outFeatures());
        compute.team()
                .run(
                        out.rows(),
                        MIN_TOKENS,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            for (int token = from; token < to; token++) {
                                table.decode(ids[token], ids[token] + 1, 0, columns, row, 0, columns);
                                MemorySegment.copy(row, 0, out.segment(), Tensor.FLOAT, out.rowOffset(token), columns);
                            }
                        });
    }

    /// gradTable[ids[t]] += gradOut[t], over the tokens in their order.
    ///
    /// @param gradOut (tokens, hiddenSize)
    /// @param gradTable (vocabSize, hiddenSize)
    /// @throws IllegalArgumentException for an id outside the table
    public static void scatterAdd(Compute compute, int[] ids, Matrix gradOut, Matrix gradTable) {
        Shapes.require("gradTable", gradTable, gradTable.rows(), gradOut.columns());
        requireIds(ids, gradOut.rows(), gradTable.rows());
        compute.team()
                .run(
                        gradOut.columns(),
                        Math.max(MIN_COLUMNS, Shapes.minRows(gradOut.rows())),
                        (from, to, worker) -> {
                            Matrix source = gradOut.columns(from, to);
                            Matrix target = gradTable.columns(from, to);
                            for (int token = 0; token < source.rows(); token++) {
                                KERNEL.addBias(source.rows(token, token + 1), target, ids[token], ids[token] + 1);
                            }
                        });
    }

    private static void requireIds(int[] ids, int tokens, int vocabSize) {
        if (ids.length < tokens) {
            throw new IllegalArgumentException("ids: expected at least " + tokens + ", found " + ids.length);
        }
        for (int token = 0; token < tokens; token++) {
            if (ids[token] < 0 || ids[token] >= vocabSize) {
                throw new IllegalArgumentException(
                        "ids[" + token + "]: expected 0 to " + (vocabSize - 1) + ", found " + ids[token]);
            }
        }
    }
}
