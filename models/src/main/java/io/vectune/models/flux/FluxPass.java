package io.vectune.models.flux;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.CallOptions;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.RotaryPairs;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// Evaluates a Flux transformer with adapters: one sample at a time, forward, and backward into the adapters.
///
/// Samples are independent and each has thousands of tokens, so a batch gains nothing. Backward keeps the input of each
/// block and evaluates the block again; memory beyond those inputs is that of one block.
///
/// For one thread at a time; the model and the adapters may be shared.
public final class FluxPass {
    private static final int SCALE = 0;
    private static final int SHIFT = 1;
    private static final int CHUNKS = 2;

    private final FluxModel model;
    private final Map<String, ? extends Adapter> adapters;
    private final Compute compute;

    /// @param adapters by module name; modules without one are frozen layers alone
    /// @throws IllegalArgumentException if an adapter does not fit its layer, or its layer does not exist
    public FluxPass(FluxModel model, Map<String, ? extends Adapter> adapters, Compute compute) {
        this.model = model;
        this.adapters = Map.copyOf(adapters);
        this.compute = compute;
        int known = 0;
        for (Linear linear : model.linears()) {
            Adapter adapter = adapters.get(linear.name());
            if (adapter != null) {
                known++;
                requireFits(linear, adapter);
            }
        }
        if (known != adapters.size()) {
            List<String> unknown = new ArrayList<>(adapters.keySet());
            model.linears().forEach(linear -> unknown.remove(linear.name()));
            throw new IllegalArgumentException(
                    "adapters: expected layers of the transformer, found " + String.join(", ", unknown));
        }
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
                            + "); the adapter was made for another width");
        }
    }

    /// The model that this pass evaluates.
    public FluxModel model() {
        return model;
    }

    /// Predicts the velocity of one sample.
    ///
    /// @param prediction (image tokens, outChannels), overwritten
    /// @throws IllegalArgumentException if an input does not fit the model
    public void predict(FluxInputs inputs, Matrix prediction) {
        requireFits(inputs, prediction);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            forward(inputs, prediction);
        } finally {
            workspace.release(mark);
        }
    }

    private void forward(FluxInputs inputs, Matrix prediction) {
        Workspace workspace = compute.workspace();
        Linears linears = new Linears(compute, adapters, CallOptions.INFERENCE, null);
        RotaryPairs rotary = rotary(inputs);
        Conditioning conditioning = new Conditioning(model, linears, inputs);
        Matrix h = embed(linears, inputs);
        int text = inputs.encoderHiddenStates().rows();
        for (DoubleStreamLayers layers : model.doubleBlocks()) {
            long inner = workspace.mark();
            new DoubleStream(model.config(), layers, linears, rotary, conditioning.activated(), text, h).writeTo(h);
            workspace.release(inner);
        }
        for (SingleStreamLayers layers : model.singleBlocks()) {
            long inner = workspace.mark();
            new SingleStream(model.config(), layers, linears, rotary, conditioning.activated(), h).addTo(h);
            workspace.release(inner);
        }
        Modulation modulation = new Modulation(linears, model.normOut(), conditioning.activated(), CHUNKS);
        Matrix image = h.rows(text, h.rows());
        modulation.norm(image, SHIFT, SCALE, image);
        linears.forward(model.projOut(), image, prediction);
    }

    /// Adds the gradients of a squared error to those of the adapters' parameters.
    ///
    ///     loss = factor * sum of (prediction - target)^2
    ///
    /// @param target (image tokens, outChannels)
    /// @param factor one over the number of elements of all samples makes the loss their mean
    /// @param dropoutSeed another one for each call in training
    /// @return the loss
    public double lossAndGradients(
            FluxInputs inputs, Matrix target, double factor, long dropoutSeed, AdapterGradients gradients) {
        requireFits(inputs, target);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            return forwardAndBackward(inputs, target, factor, new CallOptions(true, dropoutSeed), gradients);
        } finally {
            workspace.release(mark);
        }
    }

    private double forwardAndBackward(
            FluxInputs inputs, Matrix target, double factor, CallOptions options, AdapterGradients gradients) {
        Workspace workspace = compute.workspace();
        Linears linears = new Linears(compute, adapters, options, gradients::of);
        RotaryPairs rotary = rotary(inputs);
        // The embedders and the last layers are recorded once for the whole pass.
        Linears outer = new Linears(compute, adapters, options, gradients::of);
        outer.record(true);
        Conditioning conditioning = new Conditioning(model, outer, inputs);
        Matrix c = conditioning.activated();
        Matrix h = embed(outer, inputs);
        int text = inputs.encoderHiddenStates().rows();
        List<Matrix> blockInputs = new ArrayList<>();
        for (DoubleStreamLayers layers : model.doubleBlocks()) {
            blockInputs.add(copy(h));
            long inner = workspace.mark();
            new DoubleStream(model.config(), layers, linears, rotary, c, text, h).writeTo(h);
            workspace.release(inner);
        }
        for (SingleStreamLayers layers : model.singleBlocks()) {
            blockInputs.add(copy(h));
            long inner = workspace.mark();
            new SingleStream(model.config(), layers, linears, rotary, c, h).addTo(h);
            workspace.release(inner);
        }
        Matrix grad = workspace.matrix(h.rows(), h.columns());
        Matrix gradC = workspace.matrix(1, h.columns());
        grad.fill(0);
        gradC.fill(0);
        double loss = outputLoss(outer, c, h, text, target, factor, grad, gradC);
        int index = blockInputs.size();
        for (SingleStreamLayers layers : model.singleBlocks().reversed()) {
            long inner = workspace.mark();
            linears.record(true);
            Matrix input = blockInputs.get(--index);
            new SingleStream(model.config(), layers, linears, rotary, c, input).backward(grad, gradC);
            workspace.release(inner);
        }
        for (DoubleStreamLayers layers : model.doubleBlocks().reversed()) {
            long inner = workspace.mark();
            linears.record(true);
            Matrix input = blockInputs.get(--index);
            new DoubleStream(model.config(), layers, linears, rotary, c, text, input).backward(grad, gradC);
            workspace.release(inner);
        }
        outer.backward(model.contextEmbedder(), inputs.encoderHiddenStates(), grad.rows(0, text), null, false);
        outer.backward(model.xEmbedder(), inputs.hiddenStates(), grad.rows(text, grad.rows()), null, false);
        conditioning.backward(gradC);
        return loss;
    }

    /// The last norm and layer, the loss, and their backward.
    ///
    /// @param grad (tokens, innerDim), the rows of the image are overwritten
    private double outputLoss(
            Linears linears, Matrix c, Matrix h, int text, Matrix target, double factor, Matrix grad, Matrix gradC) {
        Workspace workspace = compute.workspace();
        Matrix image = h.rows(text, h.rows());
        Modulation modulation = new Modulation(linears, model.normOut(), c, CHUNKS);
        Matrix normed = workspace.matrix(image.rows(), image.columns());
        Modulation.Norm norm = modulation.norm(image, SHIFT, SCALE, normed);
        Matrix prediction = workspace.matrix(target.rows(), target.columns());
        linears.forward(model.projOut(), normed, prediction);
        double sum = 0;
        for (int row = 0; row < target.rows(); row++) {
            for (int column = 0; column < target.columns(); column++) {
                double error = (double) prediction.get(row, column) - target.get(row, column);
                sum += error * error;
                prediction.set(row, column, (float) (2 * factor * error));
            }
        }
        Matrix gradNormed = workspace.matrix(image.rows(), image.columns());
        linears.backward(model.projOut(), normed, prediction, gradNormed, false);
        modulation.backward(norm, gradNormed, grad.rows(text, grad.rows()), false);
        modulation.backward(gradC);
        return factor * sum;
    }

    private Matrix copy(Matrix h) {
        Matrix copy = compute.workspace().matrix(h.rows(), h.columns());
        copy.copyFrom(h);
        return copy;
    }

    private Matrix embed(Linears linears, FluxInputs inputs) {
        int text = inputs.encoderHiddenStates().rows();
        Matrix h = compute.workspace().matrix(inputs.tokens(), model.config().innerDim());
        linears.forward(model.contextEmbedder(), inputs.encoderHiddenStates(), h.rows(0, text));
        linears.forward(model.xEmbedder(), inputs.hiddenStates(), h.rows(text, h.rows()));
        return h;
    }

    private RotaryPairs rotary(FluxInputs inputs) {
        int axes = model.config().axesDims().size();
        Matrix ids = compute.workspace().matrix(inputs.tokens(), axes);
        int text = inputs.textIds().rows();
        ids.rows(0, text).copyFrom(inputs.textIds());
        ids.rows(text, ids.rows()).copyFrom(inputs.imageIds());
        int[] dims = model.config().axesDims().stream().mapToInt(Integer::intValue).toArray();
        return new RotaryPairs(FluxConfig.ROPE_THETA, ids, dims);
    }

    private void requireFits(FluxInputs inputs, Matrix prediction) {
        inputs.requireFits(model.config());
        if (prediction.rows() != inputs.hiddenStates().rows() || prediction.columns() != model.config().outChannels()) {
            throw new IllegalArgumentException(
                    "prediction: expected ["
                            + inputs.hiddenStates().rows()
                            + ", "
                            + model.config().outChannels()
                            + "], found ["
                            + prediction.rows()
                            + ", "
                            + prediction.columns()
                            + "]");
        }
    }
}
