package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Trains the bias of a layer, alone or beside an adapter: PEFT's `bias` = `all` or `lora_only` (BitFit, Ben Zaken et
/// al. 2021, arXiv 2106.10199).
///
///     db = sum_t gY, where the adapter does not map the output
///
/// File: `base_layer.bias` of an adapted layer, `bias` of another; the values replace the base's.
public final class BiasTuned extends LayerAdapter {
    private final @Nullable Adapter inner;
    private final Matrix bias;

    /// @param inner the adapter of the layer, or null
    /// @throws IllegalArgumentException if the layer has no bias, or the adapter maps the output
    public BiasTuned(LayerSite site, @Nullable Adapter inner, Arena arena) {
        super(inner == null ? "bias" : inner.kind(), site);
        Matrix base = site.bias();
        if (base == null) {
            throw new IllegalArgumentException(site.name() + ": has no bias to train");
        }
        if (inner instanceof ProductMap map && map.form() == ProductMap.Form.MAPS_OUTPUT) {
            throw new IllegalArgumentException(
                    site.name() + ": bias: expected none beside " + inner.kind() + ", which maps the output");
        }
        this.inner = inner;
        this.bias = Matrix.allocate(arena, 1, outFeatures());
        bias.copyFrom(base);
    }

    /// The adapter beside the bias, or null.
    public @Nullable Adapter inner() {
        return inner;
    }

    /// The trained bias (1, outFeatures), live.
    public Matrix bias() {
        return bias;
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>();
        if (inner != null) {
            parameters.addAll(inner.parameters());
        }
        String key = inner == null ? "bias" : "base_layer.bias";
        parameters.add(new AdapterParameter("bias", bias, true, Role.BIAS, new Stored(key, false, outFeatures())));
        return parameters;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        if (inner != null) {
            inner.refresh(compute, weight);
        }
    }

    @Override
    public long savedFloats(int tokens) {
        return inner == null ? 0 : inner.savedFloats(tokens);
    }

    private AdapterCall withBias(AdapterCall call) {
        return new AdapterCall(call.compute(), call.weight(), bias, call.x(), call.saved(), call.options());
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        if (inner != null) {
            inner.forward(withBias(call), y);
        } else {
            MatMul.multiply(call.compute(), call.weight(), call.x(), y, false);
            RowKernels.addRow(call.compute(), y, bias);
        }
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        double[] sums = new double[outFeatures()];
        RowKernels.columnSums(call.compute(), gradOutput, sums);
        RowKernels.addToRow(gradients.getLast(), sums, 1);
        if (inner != null) {
            inner.backward(withBias(call), gradOutput, gradInput, gradients.subList(0, gradients.size() - 1));
        } else if (gradInput != null) {
            MatMul.multiplyTransposed(call.compute(), call.weight(), gradOutput, gradInput, false);
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        if (inner == null) {
            DenseCopy.of(weight, merged);
        } else {
            inner.merge(compute, weight, merged);
        }
    }

    @Override
    public boolean changesBias() {
        return true;
    }

    @Override
    public void mergeBias(@Nullable Matrix base, Matrix merged) {
        if (inner == null) {
            merged.copyFrom(bias);
        } else {
            inner.mergeBias(bias, merged);
        }
    }

    @Override
    public double regularize(Compute compute, float factor, List<Matrix> gradients) {
        return inner == null ? 0 : inner.regularize(compute, factor, gradients.subList(0, gradients.size() - 1));
    }
}
