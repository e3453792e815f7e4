package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Several adapters on one layer, of any kinds, each with a weight that scales what it changes.
///
///     x'  = maps of the input, in order:      x + w (T(x) - x)
///     y0  = x' Wᵀ + b + sum of w D(x')        all adapters that add, on the same frozen product
///     y   = maps of the output, in order:     y0 + w (M(y0) - y0)
///
/// For sums this is PEFT's set_adapter with several LoRAs; DoRA's change is taken on the frozen product alone, whatever
/// the order, where PEFT takes it on the running sum. One frozen product serves all.
public final class ComposedAdapter implements Adapter {
    /// One adapter of a composition.
    ///
    /// @param weight scales the adapter's change: 1 as trained, 0 nothing
    public record Member(Adapter adapter, float weight) {}

    private record InputMember(InputMap adapter, float weight, int index) {}

    private record ProductMember(ProductMap adapter, float weight, int index) {}

    private final List<Member> members;
    private final List<InputMember> inputs = new ArrayList<>();
    private final List<ProductMember> sums = new ArrayList<>();
    private final List<ProductMember> outputs = new ArrayList<>();

    /// @throws IllegalArgumentException if the layers differ, a weight is not finite, or an adapter replaces the layer
    ///   and therefore cannot be combined
    public ComposedAdapter(List<Member> members) {
        if (members.isEmpty()) {
            throw new IllegalArgumentException("a composition needs at least one adapter");
        }
        this.members = List.copyOf(members);
        for (int index = 0; index < members.size(); index++) {
            Member member = members.get(index);
            if (!Float.isFinite(member.weight)) {
                throw new IllegalArgumentException("adapter weight: expected a finite number, found " + member.weight);
            }
            if (member.adapter.inFeatures() != inFeatures() || member.adapter.outFeatures() != outFeatures()) {
                throw new IllegalArgumentException("adapters of different layers cannot be composed");
            }
            switch (member.adapter) {
                case TokenTable table -> throw replacesTheLayer(table);
                case InputMap map -> inputs.add(new InputMember(map, member.weight, index));
                case ProductMap map when map.form() == ProductMap.Form.MAPS_OUTPUT ->
                        outputs.add(new ProductMember(map, member.weight, index));
                case ProductMap map -> sums.add(new ProductMember(map, member.weight, index));
                default -> throw replacesTheLayer(member.adapter);
            }
        }
    }

    private static IllegalArgumentException replacesTheLayer(Adapter adapter) {
        return new IllegalArgumentException(adapter.kind() + " replaces the layer and cannot be combined with others");
    }

    @Override
    public String kind() {
        return "composition";
    }

    @Override
    public int inFeatures() {
        return members.getFirst().adapter.inFeatures();
    }

    @Override
    public int outFeatures() {
        return members.getFirst().adapter.outFeatures();
    }

    @Override
    public List<AdapterParameter> parameters() {
        return AdapterMix.numbered(members.stream().map(Member::adapter).toList());
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        members.forEach(member -> member.adapter.refresh(compute, weight));
    }

    @Override
    public long savedFloats(int tokens) {
        return members.stream().mapToLong(member -> member.adapter.savedFloats(tokens)).sum();
    }

    private AdapterCall callOf(AdapterCall call, Matrix x, int index) {
        int tokens = x.rows();
        long before = 0;
        for (int other = 0; other < index; other++) {
            before += members.get(other).adapter.savedFloats(tokens);
        }
        AdapterCall own = call.with(x, before, members.get(index).adapter.savedFloats(tokens));
        return new AdapterCall(own.compute(), own.weight(), null, own.x(), own.saved(), own.options());
    }

    private List<Matrix> gradientsOf(List<Matrix> gradients, int index) {
        int before = 0;
        for (int other = 0; other < index; other++) {
            before += members.get(other).adapter.trainableParameters().size();
        }
        return gradients.subList(before, before + members.get(index).adapter.trainableParameters().size());
    }

    // The input of each map, and what the weight reads last.
    private List<Matrix> mapInputs(AdapterCall call) {
        List<Matrix> chain = new ArrayList<>();
        chain.add(call.x());
        for (InputMember member : inputs) {
            Matrix x = chain.getLast();
            Matrix mapped = call.compute().workspace().matrix(x.rows(), inFeatures());
            member.adapter.mapInput(callOf(call, x, member.index), mapped);
            if (member.weight != 1) {
                RowKernels.blend(call.compute(), mapped, member.weight, x, 1 - member.weight);
            }
            chain.add(mapped);
        }
        return chain;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix x = mapInputs(call).getLast();
        // Terms of sums that go straight onto y are part of the product, unless another one needs the product itself.
        boolean alone = sums.stream().anyMatch(ComposedAdapter::needsProduct);
        LowRankTerms terms = new LowRankTerms();
        for (ProductMember member : sums) {
            if (!needsProduct(member)) {
                member.adapter.addTerms(callOf(call, x, member.index), terms, 0);
            }
        }
        if (alone) {
            MatMul.multiply(compute, call.weight(), x, y, false);
        } else {
            MatMul.multiply(compute, call.weight(), x, terms, y);
        }
        Matrix product = null;
        if (alone) {
            product = workspace.matrix(y.rows(), outFeatures());
            RowKernels.copy(compute, y, product);
            terms.addTo(compute, y, true);
        }
        for (ProductMember member : sums) {
            AdapterCall own = callOf(call, x, member.index);
            if (product != null && needsProduct(member)) {
                Matrix changed = workspace.matrix(y.rows(), outFeatures());
                RowKernels.copy(compute, product, changed);
                LowRankTerms ownTerms = new LowRankTerms();
                member.adapter.addTerms(own, ownTerms, 0);
                ownTerms.addTo(compute, changed, true);
                member.adapter.applyToProduct(own, changed);
                RowKernels.addScaled(compute, y, changed, member.weight);
                RowKernels.addScaled(compute, y, product, -member.weight);
            } else {
                member.adapter.applyToProduct(own, y);
            }
        }
        RowKernels.addRow(compute, y, call.bias());
        for (ProductMember member : outputs) {
            AdapterCall own = callOf(call, x, member.index);
            if (member.weight == 1) {
                member.adapter.applyToProduct(own, y);
            } else {
                Matrix before = workspace.matrix(y.rows(), outFeatures());
                RowKernels.copy(compute, y, before);
                member.adapter.applyToProduct(own, y);
                RowKernels.blend(compute, y, member.weight, before, 1 - member.weight);
            }
        }
        workspace.release(mark);
    }

    // A sum with weight 1 goes straight onto y; anything else is computed beside it.
    private static boolean needsProduct(ProductMember member) {
        return member.weight != 1 || member.adapter.form() != ProductMap.Form.ADDS;
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int tokens = gradOutput.rows();
        List<Matrix> chain = mapInputs(call);
        Matrix x = chain.getLast();
        Matrix g = gradOutput;
        for (ProductMember member : outputs.reversed()) {
            Matrix scaled = scaled(compute, g, member.weight);
            Matrix before = workspace.matrix(tokens, outFeatures());
            member.adapter.backwardProduct(
                    callOf(call, x, member.index), scaled, before, null, gradientsOf(gradients, member.index));
            if (member.weight != 1) {
                RowKernels.addScaled(compute, before, g, 1 - member.weight);
            }
            g = before;
        }
        boolean wantsInput = gradInput != null || !inputs.isEmpty();
        Matrix gradX = wantsInput ? workspace.matrix(tokens, inFeatures()) : null;
        Matrix gradProduct = workspace.matrix(tokens, outFeatures());
        RowKernels.copy(compute, g, gradProduct);
        InputGradient direct = gradX == null ? null : new InputGradient(compute, gradX);
        for (ProductMember member : sums) {
            Matrix scaled = scaled(compute, g, member.weight);
            boolean adds = member.adapter.form() == ProductMap.Form.ADDS;
            Matrix part = adds ? null : workspace.matrix(tokens, outFeatures());
            member.adapter.backwardProduct(
                    callOf(call, x, member.index), scaled, part, direct, gradientsOf(gradients, member.index));
            if (part != null) {
                RowKernels.addScaled(compute, gradProduct, part, 1);
                RowKernels.addScaled(compute, gradProduct, scaled, -1);
            }
        }
        if (direct != null && gradX != null) {
            direct.addProduct(call.weight(), gradProduct);
            backwardInputs(call, chain, gradX, gradInput, gradients);
        }
        workspace.release(mark);
    }

    private void backwardInputs(
            AdapterCall call, List<Matrix> chain, Matrix gradLast, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Matrix g = gradLast;
        for (int at = inputs.size() - 1; at >= 0; at--) {
            InputMember member = inputs.get(at);
            Matrix before = compute.workspace().matrix(g.rows(), inFeatures());
            member.adapter.backwardInput(
                    callOf(call, chain.get(at), member.index),
                    scaled(compute, g, member.weight),
                    before,
                    gradientsOf(gradients, member.index));
            if (member.weight != 1) {
                RowKernels.addScaled(compute, before, g, 1 - member.weight);
            }
            g = before;
        }
        if (gradInput != null) {
            RowKernels.copy(compute, g, gradInput);
        }
    }

    private static Matrix scaled(Compute compute, Matrix g, float weight) {
        if (weight == 1) {
            return g;
        }
        Matrix scaled = compute.workspace().matrix(g.rows(), g.columns());
        RowKernels.copy(compute, g, scaled);
        RowKernels.blend(compute, scaled, weight, g, 0);
        return scaled;
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix current = workspace.matrix(outFeatures(), inFeatures());
        Matrix other = workspace.matrix(outFeatures(), inFeatures());
        Matrix base = workspace.matrix(outFeatures(), inFeatures());
        decode(weight, base);
        RowKernels.copy(compute, base, current);
        for (ProductMember member : sums) {
            member.adapter.merge(compute, weight, other);
            RowKernels.addScaled(compute, current, other, member.weight);
            RowKernels.addScaled(compute, current, base, -member.weight);
        }
        for (ProductMember member : outputs) {
            step(compute, member.adapter, member.weight, current, other);
        }
        for (InputMember member : inputs.reversed()) {
            step(compute, member.adapter, member.weight, current, other);
        }
        RowKernels.copy(compute, current, merged);
        workspace.release(mark);
    }

    private static void step(Compute compute, Adapter adapter, float weight, Matrix current, Matrix other) {
        adapter.merge(compute, dense(current), other);
        RowKernels.blend(compute, current, 1 - weight, other, weight);
    }

    private static void decode(Weight weight, Matrix dense) {
        float[] row = new float[weight.inFeatures()];
        for (int o = 0; o < weight.outFeatures(); o++) {
            weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
            MemorySegment.copy(row, 0, dense.segment(), Tensor.FLOAT, dense.rowOffset(o), row.length);
        }
    }

    private static Weight dense(Matrix matrix) {
        long bytes = 4L * matrix.rows() * matrix.columns();
        long[] shape = {matrix.rows(), matrix.columns()};
        return new DenseWeight(Tensor.of(DType.F32, shape, matrix.segment().asSlice(matrix.offset(), bytes)));
    }

    @Override
    public boolean changesBias() {
        return members.stream().anyMatch(member -> member.adapter.changesBias());
    }

    @Override
    public void mergeBias(@Nullable Matrix bias, Matrix merged) {
        Adapter.super.mergeBias(bias, merged);
        float[] base = merged.toArray();
        for (ProductMember member : sums) {
            Matrix changed = scratchRow();
            member.adapter.mergeBias(bias, changed);
            for (int o = 0; o < base.length; o++) {
                merged.set(0, o, merged.get(0, o) + member.weight * (changed.get(0, o) - base[o]));
            }
        }
        for (ProductMember member : outputs) {
            Matrix changed = scratchRow();
            member.adapter.mergeBias(merged, changed);
            for (int o = 0; o < base.length; o++) {
                merged.set(0, o, (1 - member.weight) * merged.get(0, o) + member.weight * changed.get(0, o));
            }
        }
    }

    private Matrix scratchRow() {
        return Matrix.allocate(Arena.ofAuto(), 1, outFeatures());
    }
}
