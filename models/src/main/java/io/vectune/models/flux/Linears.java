package io.vectune.models.flux;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.CallOptions;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.tensor.Matrix;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// Evaluates linear layers with the adapters of one pass, and keeps what backward needs of adapters.
final class Linears {
    private final Compute compute;
    private final Map<String, ? extends Adapter> adapters;
    private final CallOptions options;
    private final @Nullable Function<String, List<Matrix>> gradients;
    private final Map<String, Matrix> saved = new HashMap<>();
    private boolean recording;

    /// @param gradients of a module's adapter; null in inference
    Linears(
            Compute compute,
            Map<String, ? extends Adapter> adapters,
            CallOptions options,
            @Nullable Function<String, List<Matrix>> gradients) {
        this.compute = compute;
        this.adapters = adapters;
        this.options = options;
        this.gradients = gradients;
    }

    Compute compute() {
        return compute;
    }

    /// Whether forward keeps what [#backward] needs, in the workspace.
    boolean recording() {
        return recording;
    }

    void record(boolean on) {
        recording = on;
        saved.clear();
    }

    boolean isAdapted(Linear linear) {
        return adapters.containsKey(linear.name());
    }

    /// Overwrites y (tokens, outFeatures) with the layer's output.
    void forward(Linear linear, Matrix x, Matrix y) {
        Adapter adapter = adapters.get(linear.name());
        if (adapter == null) {
            MatMul.multiply(compute, linear.weight(), x, y, false);
            Matrix bias = linear.bias();
            if (bias != null) {
                Elementwise.addBias(compute, bias, y);
            }
            return;
        }
        Matrix own = null;
        if (recording) {
            own = compute.workspace().matrix(1, Math.toIntExact(adapter.savedFloats(x.rows())));
            saved.put(linear.name(), own);
        }
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        adapter.forward(call(linear, x, own), y);
        workspace.release(mark);
    }

    /// Backward of a recorded forward: adds to the gradients of the adapter's parameters.
    ///
    /// @param x what forward read
    /// @param gradInput (tokens, inFeatures), or null if nobody needs it
    /// @param accumulate adds to gradInput, otherwise it is overwritten
    void backward(Linear linear, Matrix x, Matrix gradOutput, @Nullable Matrix gradInput, boolean accumulate) {
        Adapter adapter = adapters.get(linear.name());
        if (adapter == null) {
            if (gradInput != null) {
                MatMul.multiplyTransposed(compute, linear.weight(), gradOutput, gradInput, accumulate);
            }
            return;
        }
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        List<Matrix> grads = gradients == null ? List.of() : gradients.apply(linear.name());
        AdapterCall call = call(linear, x, saved.get(linear.name()));
        if (gradInput != null && accumulate) {
            Matrix own = workspace.matrix(x.rows(), x.columns());
            adapter.backward(call, gradOutput, own, grads);
            Elementwise.add(compute, own, gradInput);
        } else {
            adapter.backward(call, gradOutput, gradInput, grads);
        }
        workspace.release(mark);
    }

    private AdapterCall call(Linear linear, Matrix x, @Nullable Matrix own) {
        return new AdapterCall(compute, linear.weight(), linear.bias(), x, own, options);
    }
}
