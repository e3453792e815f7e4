package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One row of [Softmax] and [CrossEntropy].
interface SoftmaxKernel {
    /// Length of the scratch that a kernel needs.
    int SCRATCH = 1056;

    /// Replaces a row by its softmax.
    void softmax(Matrix x, int row, float[] scratch);

    /// The loss of one row of logits; with gradient, replaces the row by lossScale * (softmax - onehot(label)).
    float crossEntropy(Matrix logits, int row, int label, float lossScale, boolean withGradient, float[] scratch);

    /// The kernel of the active tier.
    static SoftmaxKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new SoftmaxScalar() : new SoftmaxVector();
    }
}
