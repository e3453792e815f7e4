package io.vectune.models.eval;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// An adapter that changes nothing and sums the squares of the layer's inputs and of the gradients at its outputs, in
/// double. For one thread at a time.
final class MomentProbe implements Adapter {
    private final double[] inputs;
    private final double[] outputGradients;
    private long tokens;
    private long gradientTokens;

    MomentProbe(Weight weight) {
        this.inputs = new double[weight.inFeatures()];
        this.outputGradients = new double[weight.outFeatures()];
    }

    LayerMoments moments(boolean gradients) {
        return new LayerMoments(
                mean(inputs, tokens), gradients ? mean(outputGradients, gradientTokens) : new double[0]);
    }

    private static double[] mean(double[] sums, long count) {
        double[] mean = new double[sums.length];
        for (int i = 0; i < sums.length; i++) {
            mean[i] = count == 0 ? 0 : sums[i] / count;
        }
        return mean;
    }

    @Override
    public String kind() {
        return "calibration";
    }

    @Override
    public int inFeatures() {
        return inputs.length;
    }

    @Override
    public int outFeatures() {
        return outputGradients.length;
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of();
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        // No parameters.
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        addSquares(call.x(), inputs);
        tokens += call.x().rows();
        MatMul.multiply(call.compute(), call.weight(), call.x(), y, false);
        Matrix bias = call.bias();
        if (bias != null) {
            Elementwise.addBias(call.compute(), bias, y);
        }
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        addSquares(gradOutput, outputGradients);
        gradientTokens += gradOutput.rows();
        if (gradInput != null) {
            MatMul.multiplyTransposed(call.compute(), call.weight(), gradOutput, gradInput, false);
        }
    }

    private static void addSquares(Matrix matrix, double[] sums) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < sums.length; column++) {
                double value = matrix.get(row, column);
                sums[column] += value * value;
            }
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        throw new IllegalStateException("calibration changes nothing that could be merged");
    }
}
