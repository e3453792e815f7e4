package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// The steps of [AdamW] of one session.
final class AdamWTask extends SessionTask {
    private final Compute compute;

    // The step that runs.
    private Matrix parameter = NONE;
    private Matrix gradient = NONE;
    private Matrix firstMoment = NONE;
    private Matrix secondMoment = NONE;
    private float keep;
    private float firstRate;
    private float secondKeep;
    private float secondRate;
    private float correction;
    private float epsilon;
    private float stepSize;

    private AdamWTask(Compute compute) {
        this.compute = compute;
    }

    static AdamWTask take(Compute compute) {
        return take(compute, AdamWTask.class, AdamWTask::new);
    }

    /// [AdamW#step], with its shapes checked.
    void step(
            AdamW options,
            long step,
            double learningRate,
            Matrix ofParameter,
            Matrix ofGradient,
            Matrix ofFirstMoment,
            Matrix ofSecondMoment) {
        parameter = ofParameter;
        gradient = ofGradient;
        firstMoment = ofFirstMoment;
        secondMoment = ofSecondMoment;
        keep = (float) (1 - learningRate * options.weightDecay());
        firstRate = (float) (1 - options.beta1());
        secondKeep = (float) options.beta2();
        secondRate = (float) (1 - options.beta2());
        correction = (float) Math.sqrt(1 - Math.pow(options.beta2(), (double) step));
        epsilon = (float) options.eps();
        stepSize = (float) -(learningRate / (1 - Math.pow(options.beta1(), (double) step)));
        try {
            compute.team().run(parameter.rows(), Shapes.minRows(parameter.columns()), this);
        } finally {
            parameter = NONE;
            gradient = NONE;
            firstMoment = NONE;
            secondMoment = NONE;
            release();
        }
    }

    @Override
    public void run(int from, int to, int worker) {
        OptimizerKernel.ACTIVE.adamW(
                parameter,
                gradient,
                firstMoment,
                secondMoment,
                keep,
                firstRate,
                secondKeep,
                secondRate,
                correction,
                epsilon,
                stepSize,
                from,
                to);
    }
}
