package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.ProductMap;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Linear layers that read the same input, with the adapters of one run: q, k and v; gate and up; or a single one.
///
/// Outputs lie side by side in one matrix y (tokens, sum of outFeatures). Where formats and adapters allow it, the
/// frozen products of all layers are one product, forward and backward.
final class Projection {
    /// One layer of the group.
    ///
    /// @param from first column of its output in y
    private record Member(Linear linear, @Nullable Adapter adapter, int from, int to) {}

    private final List<Member> members = new ArrayList<>();
    private final int inFeatures;
    private final int outFeatures;
    private final @Nullable Weight fused;
    private final boolean adapted;
    private final boolean changesProduct;

    Projection(Map<String, Adapter> adapters, Linear... linears) {
        int column = 0;
        boolean products = true;
        boolean any = false;
        boolean changes = false;
        List<Weight> weights = new ArrayList<>();
        for (Linear linear : linears) {
            Adapter adapter = adapters.get(linear.name());
            if (adapter != null) {
                requireFits(linear, adapter);
                any = true;
            }
            products &= adapter == null || adapter instanceof ProductMap;
            changes |= adapter instanceof ProductMap map && map.form() != ProductMap.Form.ADDS;
            int to = Math.addExact(column, linear.weight().outFeatures());
            members.add(new Member(linear, adapter, column, to));
            weights.add(linear.weight());
            column = to;
        }
        this.adapted = any;
        this.inFeatures = weights.getFirst().inFeatures();
        this.outFeatures = column;
        boolean fuse = products && StackedWeight.canStack(weights);
        this.changesProduct = fuse && changes;
        this.fused = fuse ? StackedWeight.of(weights) : null;
    }

    private static void requireFits(Linear linear, Adapter adapter) {
        if (adapter.inFeatures() != linear.weight().inFeatures()
                || adapter.outFeatures() != linear.weight().outFeatures()) {
            throw new IllegalArgumentException(
                    adapter.kind()
                            + " of "
                            + linear.name()
                            + ": expected (outFeatures="
                            + linear.weight().outFeatures()
                            + ", inFeatures="
                            + linear.weight().inFeatures()
                            + "), found ("
                            + adapter.outFeatures()
                            + ", "
                            + adapter.inFeatures()
                            + "); the adapter was made for another base");
        }
    }

    int inFeatures() {
        return inFeatures;
    }

    int outFeatures() {
        return outFeatures;
    }

    /// Whether any layer of the group has an adapter.
    boolean isAdapted() {
        return adapted;
    }

    /// Floats that forward leaves for backward.
    long savedFloats(int tokens) {
        long floats = 0;
        for (Member member : members) {
            floats += savedFloats(member, tokens);
        }
        return floats;
    }

    private static long savedFloats(Member member, int tokens) {
        return member.adapter == null ? 0 : member.adapter.savedFloats(tokens);
    }

    /// Overwrites y with the outputs.
    ///
    /// @param x (tokens, inFeatures)
    /// @param y (tokens, outFeatures)
    /// @param saved at least [#savedFloats] in one row, or null in inference
    void forward(Compute compute, Matrix x, Matrix y, @Nullable Matrix saved, CallSeed seed) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        if (fused != null) {
            LowRankTerms terms = new LowRankTerms();
            long savedFrom = 0;
            for (Member member : members) {
                if (member.adapter instanceof ProductMap map) {
                    map.addTerms(call(compute, member, x, saved, savedFrom, seed), terms, member.from);
                }
                savedFrom += savedFloats(member, x.rows());
            }
            MatMul.multiply(compute, fused, x, terms, y);
        }
        long savedFrom = 0;
        for (Member member : members) {
            Matrix part = part(y, member);
            if (member.adapter == null) {
                if (fused == null) {
                    MatMul.multiply(compute, member.linear.weight(), x, part, false);
                }
                Matrix bias = member.linear.bias();
                if (bias != null) {
                    Elementwise.addBias(compute, bias, part);
                }
            } else {
                AdapterCall call = call(compute, member, x, saved, savedFrom, seed);
                if (fused != null && member.adapter instanceof ProductMap map) {
                    map.applyToProduct(call, part);
                } else {
                    member.adapter.forward(call, part);
                }
            }
            savedFrom += savedFloats(member, x.rows());
        }
        workspace.release(mark);
    }

    /// Backward of the same call: adds to the gradients of the adapters' parameters, overwrites gradInput.
    ///
    /// @param x what forward read; looked at only if the group is adapted
    /// @param gradOutput (tokens, outFeatures); not modified
    /// @param gradInput (tokens, inFeatures), or null if nobody needs it
    void backward(
            Compute compute,
            Matrix x,
            @Nullable Matrix saved,
            CallSeed seed,
            Matrix gradOutput,
            @Nullable Matrix gradInput,
            Map<String, List<Matrix>> gradients) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        // dL/d(x Wᵀ): the gradient of the output itself, unless an adapter changes the product.
        Matrix gradProduct = changesProduct ? workspace.matrix(gradOutput.rows(), gradOutput.columns()) : gradOutput;
        InputGradient input = gradInput == null ? null : new InputGradient(compute, gradInput);
        long savedFrom = 0;
        for (Member member : members) {
            Matrix part = part(gradOutput, member);
            Adapter adapter = member.adapter;
            if (adapter == null) {
                if (changesProduct) {
                    part(gradProduct, member).copyFrom(part);
                }
                if (fused == null && input != null) {
                    input.addProduct(member.linear.weight(), part);
                }
                continue;
            }
            AdapterCall call = call(compute, member, x, saved, savedFrom, seed);
            List<Matrix> own = gradients.getOrDefault(member.linear.name(), List.of());
            if (fused != null && adapter instanceof ProductMap map) {
                boolean adds = map.form() == ProductMap.Form.ADDS;
                map.backwardProduct(call, part, adds ? null : part(gradProduct, member), input, own);
                if (adds && changesProduct) {
                    part(gradProduct, member).copyFrom(part);
                }
            } else {
                long inner = workspace.mark();
                Matrix whole = input == null ? null : input.part();
                adapter.backward(call, part, whole, own);
                if (input != null && whole != null) {
                    input.add(whole);
                }
                workspace.release(inner);
            }
            savedFrom += savedFloats(member, x.rows());
        }
        if (fused != null && input != null) {
            input.addProduct(fused, gradProduct);
        }
        workspace.release(mark);
    }

    private Matrix part(Matrix all, Member member) {
        return members.size() == 1 ? all : all.columns(member.from, member.to);
    }

    private static AdapterCall call(
            Compute compute, Member member, Matrix x, @Nullable Matrix saved, long savedFrom, CallSeed seed) {
        Matrix own = null;
        if (saved != null) {
            int floats = Math.toIntExact(savedFloats(member, x.rows()));
            own = Matrix.of(saved.segment(), saved.offset() + 4 * savedFrom, 1, floats, floats);
        }
        CallOptions options = seed.options(member.linear.name());
        return new AdapterCall(compute, member.linear.weight(), member.linear.bias(), x, own, options);
    }
}
