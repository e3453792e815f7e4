package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.kind.BiasTuned;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// A layer whose rows use different adapters, or none: the call's [RowGroups] say which.
///
/// The frozen weight is read once for all rows; only the small parts run group by group, each on consecutive rows, so
/// nothing is gathered or scattered. All kinds can be mixed, DoRA too, also in training.
public final class MixedAdapter extends AdapterMix {
    /// @param members by the index that row groups name; empty where a set has no adapter for this layer
    public MixedAdapter(LayerSite site, List<Optional<Adapter>> members) {
        super(site, members);
    }

    /// What a run of rows does with the product: an adapter or none, then the bias, which may be a trained one.
    private record Part(RowGroups.Run run, @Nullable Adapter adapter, @Nullable Matrix bias, boolean ownBias) {
        Matrix of(Matrix rows) {
            return rows.rows(run.from(), run.to());
        }

        long savedFloats() {
            return adapter == null ? 0 : adapter.savedFloats(run.to() - run.from());
        }

        AdapterCall of(AdapterCall call, long saved) {
            AdapterCall own = call.rows(run.from(), run.to(), saved, savedFloats());
            return new AdapterCall(own.compute(), own.weight(), bias, own.x(), own.saved(), own.options());
        }
    }

    private List<Part> parts(AdapterCall call) {
        List<Part> parts = new ArrayList<>();
        for (RowGroups.Run run : runs(call.options().groups(), call.x().rows())) {
            parts.add(
                    switch (memberOf(run)) {
                        case BiasTuned tuned -> new Part(run, tuned.inner(), tuned.bias(), true);
                        case null -> new Part(run, null, call.bias(), false);
                        case Adapter adapter -> new Part(run, adapter, call.bias(), false);
                    });
        }
        return parts;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        List<Part> parts = parts(call);
        Matrix x = call.x();
        if (parts.stream().anyMatch(part -> part.adapter instanceof InputMap)) {
            x = workspace.matrix(call.x().rows(), inFeatures());
            long saved = 0;
            for (Part part : parts) {
                if (part.adapter instanceof InputMap map) {
                    map.mapInput(part.of(call, saved), part.of(x));
                } else {
                    RowKernels.copy(compute, part.of(call.x()), part.of(x));
                }
                saved += part.savedFloats();
            }
        }
        MatMul.multiply(compute, call.weight(), x, y, false);
        long saved = 0;
        for (Part part : parts) {
            Matrix rows = part.of(y);
            switch (part.adapter) {
                case ProductMap map -> applyToProduct(part.of(call, saved), map, rows);
                case InputMap map -> RowKernels.addRow(compute, rows, part.bias);
                case null -> RowKernels.addRow(compute, rows, part.bias);
                case Adapter other -> other.forward(part.of(call, saved), rows);
            }
            saved += part.savedFloats();
        }
        workspace.release(mark);
    }

    private static void applyToProduct(AdapterCall call, ProductMap map, Matrix rows) {
        LowRankTerms terms = new LowRankTerms();
        map.addTerms(call, terms, 0);
        terms.addTo(call.compute(), rows, true);
        map.applyToProduct(call, rows);
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        List<Part> parts = parts(call);
        Matrix gradX = gradInput == null ? workspace.matrix(gradOutput.rows(), inFeatures()) : gradInput;
        Matrix gradProduct = workspace.matrix(gradOutput.rows(), outFeatures());
        long saved = 0;
        for (Part part : parts) {
            if (part.ownBias) {
                double[] sums = new double[outFeatures()];
                RowKernels.columnSums(compute, part.of(gradOutput), sums);
                RowKernels.addToRow(gradientsOf(gradients, part.run.adapter()).getLast(), sums, 1);
            }
            backwardProduct(
                    part, part.of(call, saved), part.of(gradOutput), part.of(gradProduct), part.of(gradX), gradients);
            saved += part.savedFloats();
        }
        MatMul.multiplyTransposed(compute, call.weight(), gradProduct, gradX, true);
        saved = 0;
        for (Part part : parts) {
            if (part.adapter instanceof InputMap map) {
                Matrix rows = part.of(gradX);
                Matrix mapped = workspace.matrix(rows.rows(), inFeatures());
                RowKernels.copy(compute, rows, mapped);
                map.backwardInput(part.of(call, saved), mapped, rows, ownGradients(part, gradients));
            }
            saved += part.savedFloats();
        }
        workspace.release(mark);
    }

    private List<Matrix> ownGradients(Part part, List<Matrix> gradients) {
        List<Matrix> own = gradientsOf(gradients, part.run.adapter());
        return part.ownBias ? own.subList(0, own.size() - 1) : own;
    }

    // Leaves in the rows of gradX what does not go through the weight, and in those of gradProduct what does.
    private void backwardProduct(
            Part part, AdapterCall call, Matrix g, Matrix gradProduct, Matrix gradX, List<Matrix> gradients) {
        Compute compute = call.compute();
        switch (part.adapter) {
            case ProductMap map -> {
                boolean adds = map.form() == ProductMap.Form.ADDS;
                InputGradient input = new InputGradient(compute, gradX);
                map.backwardProduct(call, g, adds ? null : gradProduct, input, ownGradients(part, gradients));
                input.finish();
                if (adds) {
                    RowKernels.copy(compute, g, gradProduct);
                }
            }
            case InputMap map -> {
                gradX.fill(0);
                RowKernels.copy(compute, g, gradProduct);
            }
            case null -> {
                gradX.fill(0);
                RowKernels.copy(compute, g, gradProduct);
            }
            case Adapter other -> {
                other.backward(call, g, gradX, ownGradients(part, gradients));
                gradProduct.fill(0);
            }
        }
    }
}
