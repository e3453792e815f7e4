package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.LayerNorm;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// The rows that a modulation layer makes of the conditioning, side by side in chunks of innerDim: shifts, scales and
/// gates. An adaptive norm is norm(x) (1 + scale) + shift.
final class Modulation {
    private final Linears linears;
    private final Linear layer;
    private final Matrix conditioning;
    private final Matrix rows;
    private final int dim;
    private final @Nullable Matrix grads;

    /// @param chunks of the layer's output
    Modulation(Linears linears, Linear layer, Matrix conditioning, int chunks) {
        this.linears = linears;
        this.layer = layer;
        this.conditioning = conditioning;
        this.dim = layer.weight().outFeatures() / chunks;
        Workspace workspace = linears.compute().workspace();
        this.rows = workspace.matrix(1, chunks * dim);
        linears.forward(layer, conditioning, rows);
        if (linears.recording()) {
            grads = workspace.matrix(1, chunks * dim);
            grads.fill(0);
        } else {
            grads = null;
        }
    }

    /// A chunk (1, innerDim).
    Matrix chunk(int index) {
        return rows.columns(index * dim, (index + 1) * dim);
    }

    /// The gradient of a chunk, to be added to.
    Matrix grad(int index) {
        if (grads == null) {
            throw new IllegalStateException("the forward pass was not recorded");
        }
        return grads.columns(index * dim, (index + 1) * dim);
    }

    /// An adaptive norm: y = norm(x) (1 + scale) + shift.
    ///
    /// @param y may be x if nothing is recorded
    Norm norm(Matrix x, int shift, int scale, Matrix y) {
        Workspace workspace = linears.compute().workspace();
        Matrix weight = workspace.matrix(1, dim);
        Matrix scales = chunk(scale);
        for (int i = 0; i < dim; i++) {
            weight.set(0, i, 1 + scales.get(0, i));
        }
        Matrix statistics = linears.recording() ? workspace.matrix(x.rows(), 2) : null;
        LayerNorm.forward(linears.compute(), x, weight, chunk(shift), FluxConfig.NORM_EPS, y, statistics);
        return new Norm(x, weight, statistics, shift, scale);
    }

    /// A norm that was applied.
    record Norm(Matrix x, Matrix weight, @Nullable Matrix statistics, int shift, int scale) {}

    /// Backward of a norm: adds to the gradients of its scale and shift.
    void backward(Norm norm, Matrix gradY, Matrix gradX, boolean accumulate) {
        Matrix statistics = norm.statistics;
        if (statistics == null) {
            throw new IllegalStateException("the forward pass was not recorded");
        }
        LayerNorm.backward(
                linears.compute(),
                norm.x,
                norm.weight,
                statistics,
                gradY,
                gradX,
                accumulate,
                grad(norm.scale),
                grad(norm.shift));
    }

    /// Backward of the layer itself, when all gradients of its chunks are there.
    ///
    /// @param gradConditioning (1, innerDim), added to
    void backward(Matrix gradConditioning) {
        if (grads == null) {
            throw new IllegalStateException("the forward pass was not recorded");
        }
        linears.backward(layer, conditioning, grads, gradConditioning, true);
    }
}
