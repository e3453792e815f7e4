package io.vectune.models.flux;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.kind.DenseCopy;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The updates of all active adapters of one layer, each with its weight w, frozen:
///
///     y = x Wᵀ + b + sum of w (s x[:, 0:k] Aᵀ Bᵀ + bB)
final class WeightedUpdates implements ProductMap {
    /// One adapter's update.
    record Part(LowRankUpdate update, AdapterWeight weight) {}

    private final Linear linear;
    private final List<Part> parts;

    WeightedUpdates(Linear linear, List<Part> parts) {
        this.linear = linear;
        this.parts = List.copyOf(parts);
    }

    @Override
    public String kind() {
        return "lora";
    }

    @Override
    public int inFeatures() {
        return linear.weight().inFeatures();
    }

    @Override
    public int outFeatures() {
        return linear.weight().outFeatures();
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of();
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        // Nothing depends on the parameters alone.
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        for (Part part : parts) {
            float weight = part.weight.value();
            if (weight == 0) {
                continue;
            }
            LowRankUpdate update = part.update;
            Matrix read = call.x().columns(0, update.a().columns());
            Matrix h = call.compute().workspace().matrix(read.rows(), update.rank());
            MatMul.nt(call.compute(), weight * update.scale(), read, update.a(), h, false);
            terms.addForward(h, update.b(), column);
        }
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix bias = workspace.matrix(1, outFeatures());
        mergeBias(call.bias(), bias);
        Elementwise.addBias(call.compute(), bias, y);
        workspace.release(mark);
    }

    @Override
    public void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        if (gradInput == null) {
            return;
        }
        Compute compute = call.compute();
        for (Part part : parts) {
            LowRankUpdate update = part.update;
            Matrix gradH = compute.workspace().matrix(gradOutput.rows(), update.rank());
            MatMul.nn(compute, part.weight.value() * update.scale(), gradOutput, update.b(), gradH, false);
            gradInput.addTerm(gradH, update.a());
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        for (Part part : parts) {
            LowRankUpdate update = part.update;
            float factor = part.weight.value() * update.scale();
            Matrix read = merged.columns(0, update.a().columns());
            if (factor != 0) {
                MatMul.nn(compute, factor, update.b(), update.a(), read, true);
            }
        }
    }

    @Override
    public boolean changesBias() {
        return parts.stream().anyMatch(part -> part.update.bias() != null);
    }

    @Override
    public void mergeBias(@Nullable Matrix bias, Matrix merged) {
        ProductMap.super.mergeBias(bias, merged);
        for (Part part : parts) {
            Matrix added = part.update.bias();
            float weight = part.weight.value();
            if (added != null && weight != 0) {
                for (int o = 0; o < merged.columns(); o++) {
                    merged.set(0, o, merged.get(0, o) + weight * added.get(0, o));
                }
            }
        }
    }
}
