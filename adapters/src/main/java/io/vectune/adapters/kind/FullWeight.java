package io.vectune.adapters.kind;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.TokenTable;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A linear layer or an embedding trained whole: PEFT's `modules_to_save`. It replaces the frozen layer by its own f32 copy.
///
///     y = x Wᵀ + b        dW = gYᵀ x    db = sum_t gY    gX = gY W
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | weight | (outFeatures, inFeatures) | the base | weight |
/// | bias | (outFeatures), if the layer has one | the base | bias |
public final class FullWeight extends LayerAdapter implements TokenTable {
    private final Matrix weight;
    private final @Nullable Matrix bias;

    /// A copy of the layer.
    public FullWeight(LayerSite site, Arena arena) {
        super("full", site);
        this.weight = Matrix.allocate(arena, outFeatures(), inFeatures());
        DenseCopy.of(site.weight(), weight);
        Matrix base = site.bias();
        if (base == null) {
            this.bias = null;
        } else {
            Matrix copy = Matrix.allocate(arena, 1, outFeatures());
            copy.copyFrom(base);
            this.bias = copy;
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>();
        parameters.add(AdapterParameter.matrix("weight", "weight", Role.WEIGHT, weight));
        if (bias != null) {
            parameters.add(
                    new AdapterParameter("bias", bias, true, Role.BIAS, new Stored("bias", false, outFeatures())));
        }
        return parameters;
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        MatMul.nt(call.compute(), 1, call.x(), weight, y, false);
        RowKernels.addRow(call.compute(), y, bias);
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        MatMul.tn(call.compute(), 1, gradOutput, call.x(), gradients.getFirst(), true);
        if (bias != null) {
            double[] sums = new double[outFeatures()];
            RowKernels.columnSums(call.compute(), gradOutput, sums);
            RowKernels.addToRow(gradients.get(1), sums, 1);
        }
        if (gradInput != null) {
            MatMul.nn(call.compute(), 1, gradOutput, weight, gradInput, false);
        }
    }

    @Override
    public void gather(Compute compute, Weight table, int[] ids, Matrix out) {
        for (int t = 0; t < out.rows(); t++) {
            if (ids[t] < 0 || ids[t] >= outFeatures()) {
                throw new IllegalArgumentException("token: expected 0 to " + (outFeatures() - 1) + ", found " + ids[t]);
            }
            out.rows(t, t + 1).copyFrom(weight.rows(ids[t], ids[t] + 1));
        }
    }

    @Override
    public void backwardGather(Compute compute, int[] ids, Matrix gradOutput, List<Matrix> gradients) {
        Embedding.scatterAdd(compute, ids, gradOutput, gradients.getFirst());
    }

    @Override
    public void merge(Compute compute, Weight base, Matrix merged) {
        RowKernels.copy(compute, weight, merged);
    }

    @Override
    public boolean changesBias() {
        return bias != null;
    }

    @Override
    public void mergeBias(@Nullable Matrix base, Matrix merged) {
        super.mergeBias(bias, merged);
    }
}
