package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleSupplier;

/// One adapted layer with random weights, and the checks that every kind must pass on it.
final class AdapterBench implements AutoCloseable {
    static final int TOKENS = 7;
    static final int IN = 12;
    static final int OUT = 16;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team;
    final Compute compute;
    final LayerSite site;
    final Matrix x;
    final Matrix gradOutput;
    final boolean withBias;

    AdapterBench(boolean withBias, int threads) {
        this.withBias = withBias;
        this.team = ThreadTeam.of(threads);
        this.compute = new Compute(team);
        SplitMix random = new SplitMix(42);
        Tensor weight = Tensor.allocate(arena, DType.F32, OUT, IN);
        random.fillNormal(weight.asMatrix(), 0, 0.5);
        Matrix bias = Matrix.allocate(arena, 1, OUT);
        random.fillNormal(bias, 0, 0.5);
        this.site = new LayerSite("model.layers.3.self_attn.q_proj", new DenseWeight(weight), withBias ? bias : null);
        this.x = Matrix.allocate(arena, TOKENS, IN);
        this.gradOutput = Matrix.allocate(arena, TOKENS, OUT);
        random.fillNormal(x, 0, 1);
        random.fillNormal(gradOutput, 0, 1);
    }

    Adapter create(String kind, Map<String, ?> options) {
        AdapterConfig config = AdapterConfig.of(kind, options);
        Adapter adapter = config.recipe().create(site, arena, StoredShapes.NONE);
        config.recipe().initialize(adapter, site, new Initialization(compute, 7));
        adapter.refresh(compute, site.weight());
        return adapter;
    }

    Matrix matrix(int rows, int columns) {
        return Matrix.allocate(arena, rows, columns);
    }

    /// Moves every trainable parameter away from its start.
    void perturb(Adapter adapter, double deviation) {
        SplitMix random = new SplitMix(5);
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            Matrix values = parameter.values();
            for (int row = 0; row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, (float) (values.get(row, column) + deviation * random.nextNormal()));
                }
            }
        }
        adapter.refresh(compute, site.weight());
    }

    AdapterCall call(Adapter adapter, CallOptions options) {
        Matrix saved = Matrix.allocate(arena, 1, Math.max(1, Math.toIntExact(adapter.savedFloats(TOKENS))));
        return new AdapterCall(compute, site.weight(), site.bias(), x, saved, options);
    }

    Matrix base() {
        Matrix y = matrix(TOKENS, OUT);
        MatMul.multiply(compute, site.weight(), x, y, false);
        Matrix bias = site.bias();
        if (bias != null) {
            for (int t = 0; t < TOKENS; t++) {
                for (int o = 0; o < OUT; o++) {
                    y.set(t, o, y.get(t, o) + bias.get(0, o));
                }
            }
        }
        return y;
    }

    /// Largest difference to the layer without adapter.
    double distanceFromBase(Adapter adapter) {
        Matrix y = matrix(TOKENS, OUT);
        adapter.forward(call(adapter, CallOptions.INFERENCE), y);
        float[] found = y.toArray();
        float[] base = base().toArray();
        double distance = 0;
        for (int i = 0; i < base.length; i++) {
            distance = Math.max(distance, Math.abs((double) found[i] - base[i]));
        }
        return distance;
    }

    /// Forward, gradients by central differences in double, and merge, all against the oracle.
    void check(Adapter adapter, CallOptions options, AdapterOracle oracle, double rtol) {
        Map<String, double[]> parameters = new LinkedHashMap<>();
        for (AdapterParameter parameter : adapter.parameters()) {
            parameters.put(parameter.name(), doubles(parameter.values()));
        }
        double[] bias = withBias ? doubles(java.util.Objects.requireNonNull(site.bias())) : new double[0];
        Matrix dense = matrix(OUT, IN);
        DenseCopy.of(site.weight(), dense);
        AdapterOracle.Layer layer = new AdapterOracle.Layer(TOKENS, IN, OUT, doubles(dense), bias);
        double[] input = doubles(x);
        double[] upstream = doubles(gradOutput);

        AdapterCall call = call(adapter, options);
        Matrix y = matrix(TOKENS, OUT);
        adapter.forward(call, y);
        close("y", doubles(y), oracle.forward(layer, parameters, parameters, input), rtol);

        List<Matrix> gradients = new ArrayList<>();
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            Matrix gradient = matrix(parameter.values().rows(), parameter.values().columns());
            gradient.fill(1);
            gradients.add(gradient);
        }
        Matrix gradInput = matrix(TOKENS, IN);
        gradInput.fill(Float.NaN);
        adapter.backward(call, gradOutput, gradInput, gradients);
        Map<String, double[]> constants = new LinkedHashMap<>();
        parameters.forEach((name, values) -> constants.put(name, values.clone()));
        for (int index = 0; index < gradients.size(); index++) {
            String name = adapter.trainableParameters().get(index).name();
            double[] values = java.util.Objects.requireNonNull(parameters.get(name));
            double[] expected =
                    derivatives(
                            "of " + name,
                            values,
                            () -> dot(oracle.forward(layer, parameters, constants, input), upstream));
            // backward adds to what is there, which was 1.
            for (int i = 0; i < expected.length; i++) {
                expected[i] += 1;
            }
            close("gradient of " + name, doubles(gradients.get(index)), expected, rtol);
        }
        double[] expected =
                derivatives("of x", input, () -> dot(oracle.forward(layer, parameters, constants, input), upstream));
        close("gradient of x", doubles(gradInput), expected, rtol);
    }

    // The derivatives of a loss in double, by central differences that are extrapolated to step 0 (Richardson). Two
    // estimates from different steps have to agree within 1e-6: what gradients are compared with is that exact.
    private static double[] derivatives(String what, double[] values, DoubleSupplier loss) {
        double[] fine = new double[values.length];
        double[] coarse = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            fine[i] = extrapolated(values, i, 1e-3, loss);
            coarse[i] = extrapolated(values, i, 4e-3, loss);
        }
        close("differences " + what, coarse, fine, 1e-6);
        return fine;
    }

    private static double extrapolated(double[] values, int index, double step, DoubleSupplier loss) {
        return (4 * central(values, index, step / 2, loss) - central(values, index, step, loss)) / 3;
    }

    private static double central(double[] values, int index, double step, DoubleSupplier loss) {
        double before = values[index];
        values[index] = before + step;
        double above = loss.getAsDouble();
        values[index] = before - step;
        double below = loss.getAsDouble();
        values[index] = before;
        return (above - below) / (2 * step);
    }

    /// The merged layer without adapter against the adapted layer.
    void checkMerge(Adapter adapter, AdapterOracle oracle, double rtol) {
        Map<String, double[]> parameters = new LinkedHashMap<>();
        for (AdapterParameter parameter : adapter.parameters()) {
            parameters.put(parameter.name(), doubles(parameter.values()));
        }
        double[] bias = withBias ? doubles(java.util.Objects.requireNonNull(site.bias())) : new double[0];
        Matrix dense = matrix(OUT, IN);
        DenseCopy.of(site.weight(), dense);
        AdapterOracle.Layer layer = new AdapterOracle.Layer(TOKENS, IN, OUT, doubles(dense), bias);
        Matrix merged = matrix(OUT, IN);
        adapter.merge(compute, site.weight(), merged);
        Matrix mergedBias = matrix(1, OUT);
        adapter.mergeBias(site.bias(), mergedBias);
        assertThat(adapter.changesBias() || withBias || isZero(mergedBias)).isTrue();
        double[] found = layer.linear(doubles(x), doubles(merged), doubles(mergedBias));
        close("merged", found, oracle.forward(layer, parameters, parameters, doubles(x)), rtol);
    }

    private static boolean isZero(Matrix matrix) {
        for (float value : matrix.toArray()) {
            if (value != 0) {
                return false;
            }
        }
        return true;
    }

    static double[] doubles(Matrix matrix) {
        float[] values = matrix.toArray();
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    private static double dot(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }

    /// Fails unless the largest difference is within rtol of the largest expected value; catches NaN.
    static void close(String what, double[] found, double[] expected, double rtol) {
        double scale = 0;
        double error = 0;
        int at = 0;
        for (int i = 0; i < expected.length; i++) {
            scale = Math.max(scale, Math.abs(expected[i]));
            if (!(Math.abs(found[i] - expected[i]) <= error)) {
                error = Math.abs(found[i] - expected[i]);
                at = i;
            }
        }
        if (!(error <= rtol * scale)) {
            throw new AssertionError(
                    what
                            + ": at "
                            + at
                            + " expected "
                            + expected[at]
                            + ", found "
                            + found[at]
                            + "; relative error "
                            + error / scale
                            + " exceeds "
                            + rtol);
        }
    }

    @Override
    public void close() {
        compute.close();
        team.close();
        arena.close();
    }
}
