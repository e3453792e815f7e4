package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// An embedding whose rows use different tables: that of the row's adapter, or the base's.
///
/// Looking up is all that it does. As a tied output head the tables are members of a [MixedAdapter] of the head.
public final class MixedEmbedding extends AdapterMix {
    /// @param members by the index that row groups name; empty where a set has no adapter for this embedding
    /// @throws IllegalArgumentException if one of them is no [TokenTable]
    public MixedEmbedding(LayerSite site, List<Optional<Adapter>> members) {
        super(site, members);
        for (Optional<Adapter> member : members) {
            if (member.isPresent() && !(member.get() instanceof TokenTable)) {
                throw new IllegalArgumentException(
                        module()
                                + ": expected adapters of an embedding in the mixed batch, found "
                                + member.get().kind()
                                + "; give the set to the batch by itself");
            }
        }
    }

    /// Overwrites out with the rows of the tokens, each from the table of its group.
    ///
    /// @param table the frozen embedding (vocabSize, hiddenSize)
    /// @param ids at least out.rows() token ids
    /// @param out (tokens, hiddenSize)
    public void gather(Compute compute, Weight table, int[] ids, RowGroups groups, Matrix out) {
        for (RowGroups.Run run : runs(groups, out.rows())) {
            int[] own = Arrays.copyOfRange(ids, run.from(), run.to());
            Matrix rows = out.rows(run.from(), run.to());
            if (memberOf(run) instanceof TokenTable member) {
                member.gather(compute, table, own, rows);
            } else {
                Embedding.gather(compute, table, own, rows);
            }
        }
    }

    /// Backward of [#gather]: adds to the parameter gradients.
    ///
    /// @param gradOutput (tokens, hiddenSize)
    /// @param gradients in the order of [#trainableParameters]
    public void backwardGather(
            Compute compute, int[] ids, RowGroups groups, Matrix gradOutput, List<Matrix> gradients) {
        for (RowGroups.Run run : runs(groups, gradOutput.rows())) {
            if (memberOf(run) instanceof TokenTable member) {
                member.backwardGather(
                        compute,
                        Arrays.copyOfRange(ids, run.from(), run.to()),
                        gradOutput.rows(run.from(), run.to()),
                        gradientsOf(gradients, run.adapter()));
            }
        }
    }

    /// @throws UnsupportedOperationException always: rows are looked up
    @Override
    public void forward(AdapterCall call, Matrix y) {
        throw new UnsupportedOperationException(module() + ": an embedding looks rows up; use gather");
    }

    /// @throws UnsupportedOperationException always: rows are looked up
    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        throw new UnsupportedOperationException(module() + ": an embedding looks rows up; use backwardGather");
    }
}
