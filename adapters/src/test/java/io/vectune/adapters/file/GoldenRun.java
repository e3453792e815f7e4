package io.vectune.adapters.file;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;

/// One adapter on one layer against the values that a Python library computed.
///
/// @param keyOf the golden's name of a parameter
record GoldenRun(
        SafetensorsFile golden,
        LayerSite site,
        AdapterSet set,
        Compute compute,
        Arena arena,
        Function<AdapterParameter, String> keyOf) {
    static final String MODULE = "model.layers.0.self_attn.q_proj";

    // Both sides compute in f32; each tolerance is a few times the largest difference seen, relative to the largest
    // entry.
    private static final double FORWARD = 3e-6;
    private static final double GRADIENT = 1e-5;
    private static final double LOSS = 1e-5;
    private static final double MERGE = 2e-6;

    // torch takes the start of PiSSA and OLoRA out of the base with an SVD in f32.
    private static final double RESIDUAL = 1e-5;
    private static final double RESIDUAL_GRADIENT = 2e-5;

    static Matrix row(Tensor tensor) {
        return tensor.reshape(1, tensor.elements()).asMatrix();
    }

    private Adapter adapter() {
        return Objects.requireNonNull(set.adapter(MODULE));
    }

    private Matrix matrix(String name) {
        return golden.tensor(name).asMatrix();
    }

    // mean((y - target)^2), its gradient, and the gradients of the parameters.
    private double step(List<Matrix> gradients, Matrix y, Matrix gradInput) {
        Matrix x = matrix("x");
        Matrix target = matrix("target");
        Adapter adapter = adapter();
        Matrix saved = Matrix.allocate(arena, 1, Math.max(1, (int) adapter.savedFloats(x.rows())));
        AdapterCall call = new AdapterCall(compute, site.weight(), site.bias(), x, saved, CallOptions.INFERENCE);
        adapter.forward(call, y);
        Matrix gradOutput = Matrix.allocate(arena, y.rows(), y.columns());
        double loss = 0;
        double count = (double) y.rows() * y.columns();
        for (int t = 0; t < y.rows(); t++) {
            for (int o = 0; o < y.columns(); o++) {
                double difference = (double) y.get(t, o) - target.get(t, o);
                loss += difference * difference / count;
                gradOutput.set(t, o, (float) (2 * difference / count));
            }
        }
        adapter.backward(call, gradOutput, gradInput, gradients);
        return loss;
    }

    private List<Matrix> gradients() {
        List<Matrix> gradients = new ArrayList<>();
        for (AdapterParameter parameter : adapter().trainableParameters()) {
            gradients.add(Matrix.allocate(arena, parameter.values().rows(), parameter.values().columns()));
        }
        return gradients;
    }

    void checkForwardAndBackward() {
        Matrix y = Matrix.allocate(arena, matrix("x").rows(), site.weight().outFeatures());
        Matrix gradInput = Matrix.allocate(arena, matrix("x").rows(), site.weight().inFeatures());
        List<Matrix> gradients = gradients();
        step(gradients, y, gradInput);
        boolean residual = List.of("pissa", "olora").contains(adapter().kind());
        close("y", y.toArray(), matrix("y").toArray(), residual ? RESIDUAL : FORWARD);
        close(
                "gradient of x",
                gradInput.toArray(),
                matrix("gradient.x").toArray(),
                residual ? RESIDUAL_GRADIENT : GRADIENT);
        double learningRate = Double.parseDouble(Objects.requireNonNull(golden.metadata().get("sgd_lr")));
        List<AdapterParameter> parameters = adapter().trainableParameters();
        long found =
                golden.names().stream()
                        .filter(name -> name.startsWith("gradient.") && !name.equals("gradient.x"))
                        .count();
        assertThat(parameters).hasSize((int) found);
        for (int index = 0; index < parameters.size(); index++) {
            AdapterParameter parameter = parameters.get(index);
            AdapterParameter.Stored stored = Objects.requireNonNull(parameter.stored());
            String key = keyOf.apply(parameter);
            AdapterParameter asGradient =
                    new AdapterParameter(parameter.name(), gradients.get(index), true, parameter.role(), stored);
            float[] gradient = flat(asGradient);
            close("gradient of " + key, gradient, flat(golden.tensor("gradient." + key)), GRADIENT);
            float[] values = flat(parameter);
            for (int i = 0; i < values.length; i++) {
                values[i] -= (float) learningRate * gradient[i];
            }
            close("SGD step of " + key, values, flat(golden.tensor("sgd." + key)), GRADIENT);
        }
    }

    private float[] flat(AdapterParameter parameter) {
        // peft's files may hold a transpose; lora-lite's parameters have our orientation.
        boolean peft = keyOf.apply(parameter).startsWith("base_model.");
        return peft
                ? flat(TensorFill.write(parameter, Objects.requireNonNull(parameter.stored()), arena))
                : parameter.values().toArray();
    }

    private static float[] flat(Tensor tensor) {
        return row(tensor).toArray();
    }

    void checkMerge() {
        Matrix merged = Matrix.allocate(arena, site.weight().outFeatures(), site.weight().inFeatures());
        adapter().merge(compute, site.weight(), merged);
        boolean residual = List.of("pissa", "olora").contains(adapter().kind());
        float[] expected = matrix("merged.weight").toArray();
        close("merged weight", merged.toArray(), expected, residual ? RESIDUAL : MERGE);
        if (site.bias() != null) {
            Matrix mergedBias = Matrix.allocate(arena, 1, site.weight().outFeatures());
            adapter().mergeBias(site.bias(), mergedBias);
            close("merged bias", mergedBias.toArray(), flat(golden.tensor("merged.bias")), MERGE);
        }
    }

    void checkSavedCopy(Path directory) {
        PeftDirectory.write(set, directory, false);
        try (AdapterSet copy = PeftDirectory.read(directory, List.of(site), compute)) {
            List<AdapterSet.Entry> before = set.parameters();
            List<AdapterSet.Entry> after = copy.parameters();
            assertThat(after).hasSameSizeAs(before);
            for (int index = 0; index < before.size(); index++) {
                assertThat(after.get(index).parameter().values().toArray())
                        .containsExactly(before.get(index).parameter().values().toArray());
            }
            assertThat(copy.config().fields()).isEqualTo(set.config().fields());
        }
    }

    // torch.optim.AdamW without decay: betas .9 and .999, eps 1e-8.
    void checkAdamW() {
        double learningRate = Double.parseDouble(Objects.requireNonNull(golden.metadata().get("adamw_lr")));
        float[] expected = flat(golden.tensor("losses"));
        float[] losses = new float[expected.length];
        List<double[]> first = new ArrayList<>();
        List<double[]> second = new ArrayList<>();
        Matrix y = Matrix.allocate(arena, matrix("x").rows(), site.weight().outFeatures());
        for (int step = 1; step <= expected.length; step++) {
            List<Matrix> gradients = gradients();
            losses[step - 1] = (float) step(gradients, y, Matrix.allocate(arena, y.rows(), site.weight().inFeatures()));
            for (int index = 0; index < gradients.size(); index++) {
                Matrix values = adapter().trainableParameters().get(index).values();
                float[] gradient = gradients.get(index).toArray();
                if (step == 1) {
                    first.add(new double[gradient.length]);
                    second.add(new double[gradient.length]);
                }
                double[] m = first.get(index);
                double[] v = second.get(index);
                for (int i = 0; i < gradient.length; i++) {
                    m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                    v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                    double mean = m[i] / (1 - Math.pow(0.9, step));
                    double root = Math.sqrt(v[i] / (1 - Math.pow(0.999, step)));
                    int line = i / values.columns();
                    int column = i % values.columns();
                    values.set(line, column, (float) (values.get(line, column) - learningRate * mean / (root + 1e-8)));
                }
            }
            adapter().refresh(compute, site.weight());
        }
        close("losses", losses, expected, LOSS);
    }

    // The largest difference against the largest expected entry; NaN fails.
    static void close(String what, float[] found, float[] expected, double rtol) {
        assertThat(found).as(what).hasSameSizeAs(expected);
        double scale = 0;
        double error = 0;
        for (int i = 0; i < expected.length; i++) {
            scale = Math.max(scale, Math.abs(expected[i]));
            double difference = Math.abs((double) found[i] - expected[i]);
            if (!(difference <= error)) {
                error = difference;
            }
        }
        if (!(error <= rtol * scale)) {
            throw new AssertionError(what + ": relative error " + error / scale + " exceeds " + rtol);
        }
    }
}
