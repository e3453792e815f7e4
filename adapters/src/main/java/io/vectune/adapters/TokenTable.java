package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;

/// An adapter of an embedding: other rows for some tokens or for all.
public interface TokenTable extends Adapter {
    /// Overwrites out with the rows of the tokens.
    ///
    /// @param table the frozen embedding (vocabSize, hiddenSize)
    /// @param ids at least out.rows() token ids
    /// @param out (tokens, hiddenSize)
    void gather(Compute compute, Weight table, int[] ids, Matrix out);

    /// Backward of [#gather]: adds to the parameter gradients.
    ///
    /// @param gradOutput (tokens, hiddenSize)
    void backwardGather(Compute compute, int[] ids, Matrix gradOutput, List<Matrix> gradients);
}
