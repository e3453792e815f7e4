package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// A layer whose rows use different adapters, or none: the call's [RowGroups] say which.
///
/// The frozen weight is read once for all rows; only the small parts run group by group, each on consecutive rows, so
/// nothing is gathered or scattered. All kinds can be mixed, DoRA too, also in training.
public final class MixedAdapter implements Adapter {
    private final List<Optional<Adapter>> adapters;
    private final LayerSite site;

    /// @param adapters by the index that row groups name; empty where a set has no adapter for this layer
    public MixedAdapter(LayerSite site, List<Optional<Adapter>> adapters) {
        this.site = site;
        this.adapters = List.copyOf(adapters);
    }

    @Override
    public String kind() {
        return "mixed";
    }

    @Override
    public int inFeatures() {
        return site.weight().inFeatures();
    }

    @Override
    public int outFeatures() {
        return site.weight().outFeatures();
    }

    @Override
    public List<AdapterParameter> parameters() {
        return numbered(adapters.stream().flatMap(Optional::stream).toList());
    }

    /// The parameters of several adapters, named after their place: `0.loraA`.
    static List<AdapterParameter> numbered(List<Adapter> adapters) {
        List<AdapterParameter> parameters = new ArrayList<>();
        for (int index = 0; index < adapters.size(); index++) {
            for (AdapterParameter parameter : adapters.get(index).parameters()) {
                parameters.add(
                        new AdapterParameter(
                                index + "." + parameter.name(),
                                parameter.values(),
                                parameter.trainable(),
                                parameter.role(),
                                null));
            }
        }
        return parameters;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        adapters.stream().flatMap(Optional::stream).forEach(adapter -> adapter.refresh(compute, weight));
    }

    @Override
    public long savedFloats(int tokens) {
        // What an adapter saves grows with its rows, and groups share the rows among them.
        return adapters.stream()
                .flatMap(Optional::stream)
                .mapToLong(adapter -> adapter.savedFloats(tokens))
                .max()
                .orElse(0);
    }

    private @Nullable Adapter adapterOf(RowGroups.Run run) {
        if (run.adapter() == RowGroups.BASE) {
            return null;
        }
        if (run.adapter() >= adapters.size()) {
            throw new IllegalArgumentException(
                    "row groups: expected adapters 0 to " + (adapters.size() - 1) + ", found " + run.adapter());
        }
        return adapters.get(run.adapter()).orElse(null);
    }

    private List<RowGroups.Run> runs(AdapterCall call) {
        RowGroups groups = call.options().groups();
        if (groups.rows() != call.x().rows()) {
            throw new IllegalArgumentException(
                    "row groups: expected " + call.x().rows() + " rows of the mixed batch, found " + groups.rows());
        }
        return groups.runs();
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        List<RowGroups.Run> runs = runs(call);
        Matrix x = call.x();
        if (runs.stream().anyMatch(run -> adapterOf(run) instanceof InputMap)) {
            x = workspace.matrix(call.x().rows(), inFeatures());
            long saved = 0;
            for (RowGroups.Run run : runs) {
                Matrix rows = x.rows(run.from(), run.to());
                if (adapterOf(run) instanceof InputMap map) {
                    map.mapInput(callOf(call, run, map, saved), rows);
                } else {
                    RowKernels.copy(compute, call.x().rows(run.from(), run.to()), rows);
                }
                saved += savedOf(run);
            }
        }
        MatMul.multiply(compute, call.weight(), x, y, false);
        long saved = 0;
        for (RowGroups.Run run : runs) {
            Matrix rows = y.rows(run.from(), run.to());
            switch (adapterOf(run)) {
                case ProductMap map -> applyToProduct(callOf(call, run, map, saved), map, rows);
                case InputMap map -> RowKernels.addRow(compute, rows, call.bias());
                case null -> RowKernels.addRow(compute, rows, call.bias());
                case Adapter other -> other.forward(callOf(call, run, other, saved), rows);
            }
            saved += savedOf(run);
        }
        workspace.release(mark);
    }

    private static void applyToProduct(AdapterCall call, ProductMap map, Matrix rows) {
        LowRankTerms terms = new LowRankTerms();
        map.addTerms(call, terms, 0);
        terms.addTo(call.compute(), rows, true);
        map.applyToProduct(call, rows);
    }

    private long savedOf(RowGroups.Run run) {
        Adapter adapter = adapterOf(run);
        return adapter == null ? 0 : adapter.savedFloats(run.to() - run.from());
    }

    private static AdapterCall callOf(AdapterCall call, RowGroups.Run run, Adapter adapter, long saved) {
        return call.rows(run.from(), run.to(), saved, adapter.savedFloats(run.to() - run.from()));
    }

    private List<Matrix> gradientsOf(List<Matrix> gradients, int index) {
        int before = 0;
        for (int other = 0; other < index; other++) {
            before += adapters.get(other).map(adapter -> adapter.trainableParameters().size()).orElse(0);
        }
        int count = adapters.get(index).map(adapter -> adapter.trainableParameters().size()).orElse(0);
        return gradients.subList(before, before + count);
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix gradX = gradInput == null ? workspace.matrix(gradOutput.rows(), inFeatures()) : gradInput;
        Matrix gradProduct = workspace.matrix(gradOutput.rows(), outFeatures());
        long saved = 0;
        for (RowGroups.Run run : runs(call)) {
            backwardProduct(call, run, saved, gradOutput, gradProduct, gradX, gradients);
            saved += savedOf(run);
        }
        MatMul.multiplyTransposed(compute, call.weight(), gradProduct, gradX, true);
        saved = 0;
        for (RowGroups.Run run : runs(call)) {
            Matrix rows = gradX.rows(run.from(), run.to());
            if (adapterOf(run) instanceof InputMap map) {
                Matrix mapped = workspace.matrix(rows.rows(), inFeatures());
                RowKernels.copy(compute, rows, mapped);
                map.backwardInput(callOf(call, run, map, saved), mapped, rows, gradientsOf(gradients, run.adapter()));
            }
            saved += savedOf(run);
        }
        workspace.release(mark);
    }

    // Leaves in the rows of gradX what does not go through the weight, and in those of gradProduct what does.
    private void backwardProduct(
            AdapterCall call,
            RowGroups.Run run,
            long saved,
            Matrix gradOutput,
            Matrix gradProduct,
            Matrix gradX,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        Matrix g = gradOutput.rows(run.from(), run.to());
        Matrix through = gradProduct.rows(run.from(), run.to());
        Matrix direct = gradX.rows(run.from(), run.to());
        switch (adapterOf(run)) {
            case ProductMap map -> {
                AdapterCall own = callOf(call, run, map, saved);
                List<Matrix> ownGradients = gradientsOf(gradients, run.adapter());
                boolean adds = map.form() == ProductMap.Form.ADDS;
                InputGradient input = new InputGradient(compute, direct);
                map.backwardProduct(own, g, adds ? null : through, input, ownGradients);
                input.finish();
                if (adds) {
                    RowKernels.copy(compute, g, through);
                }
            }
            case InputMap map -> {
                direct.fill(0);
                RowKernels.copy(compute, g, through);
            }
            case null -> {
                direct.fill(0);
                RowKernels.copy(compute, g, through);
            }
            case Adapter other -> {
                other.backward(callOf(call, run, other, saved), g, direct, gradientsOf(gradients, run.adapter()));
                through.fill(0);
            }
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        throw new IllegalStateException("a mixed batch has no one weight to merge into; merge each adapter by itself");
    }
}
