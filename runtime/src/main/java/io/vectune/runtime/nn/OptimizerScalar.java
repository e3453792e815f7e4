package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// [AdamW] and [Sgd] in formula order.
final class OptimizerScalar implements OptimizerKernel {
    @Override
    public void adamW(
            Matrix parameter,
            Matrix gradient,
            Matrix firstMoment,
            Matrix secondMoment,
            float keep,
            float firstRate,
            float secondKeep,
            float secondRate,
            float correction,
            float eps,
            float stepSize,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            adamWRow(
                    parameter,
                    gradient,
                    firstMoment,
                    secondMoment,
                    keep,
                    firstRate,
                    secondKeep,
                    secondRate,
                    correction,
                    eps,
                    stepSize,
                    row,
                    0);
        }
    }

    static void adamWRow(
            Matrix parameter,
            Matrix gradient,
            Matrix firstMoment,
            Matrix secondMoment,
            float keep,
            float firstRate,
            float secondKeep,
            float secondRate,
            float correction,
            float eps,
            float stepSize,
            int row,
            int columnFrom) {
        for (int i = columnFrom; i < parameter.columns(); i++) {
            long pAt = parameter.rowOffset(row) + 4L * i;
            long mAt = firstMoment.rowOffset(row) + 4L * i;
            long vAt = secondMoment.rowOffset(row) + 4L * i;
            float g = gradient.segment().get(FLOAT, gradient.rowOffset(row) + 4L * i);
            float m = firstMoment.segment().get(FLOAT, mAt);
            m = Math.fma(firstRate, g - m, m);
            float v = secondMoment.segment().get(FLOAT, vAt) * secondKeep;
            v = Math.fma(secondRate * g, g, v);
            float denominator = (float) Math.sqrt(v) / correction + eps;
            float p = parameter.segment().get(FLOAT, pAt) * keep;
            parameter.segment().set(FLOAT, pAt, p + stepSize * m / denominator);
            firstMoment.segment().set(FLOAT, mAt, m);
            secondMoment.segment().set(FLOAT, vAt, v);
        }
    }

    @Override
    public void sgd(
            Matrix parameter,
            Matrix gradient,
            @Nullable Matrix momentumBuffer,
            float keep,
            float decay,
            float stepSize,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            sgdRow(parameter, gradient, momentumBuffer, keep, decay, stepSize, row, 0);
        }
    }

    static void sgdRow(
            Matrix parameter,
            Matrix gradient,
            @Nullable Matrix momentumBuffer,
            float keep,
            float decay,
            float stepSize,
            int row,
            int columnFrom) {
        for (int i = columnFrom; i < parameter.columns(); i++) {
            long pAt = parameter.rowOffset(row) + 4L * i;
            float p = parameter.segment().get(FLOAT, pAt);
            float g = Math.fma(decay, p, gradient.segment().get(FLOAT, gradient.rowOffset(row) + 4L * i));
            if (momentumBuffer != null) {
                long bAt = momentumBuffer.rowOffset(row) + 4L * i;
                if (keep != 0) {
                    g = momentumBuffer.segment().get(FLOAT, bAt) * keep + g;
                }
                momentumBuffer.segment().set(FLOAT, bAt, g);
            }
            parameter.segment().set(FLOAT, pAt, Math.fma(stepSize, g, p));
        }
    }
}
