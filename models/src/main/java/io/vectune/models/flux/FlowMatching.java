package io.vectune.models.flux;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/// The flow-matching task (Lipman et al., arXiv 2210.02747; Esser et al., arXiv 2403.03206): predict the velocity from
/// clean latents to noise.
///
///     noisy = (1 - sigma) latents + sigma noise        target = noise - latents        timestep = sigma
///
/// Noise and sigma are a pure function of the seed and of the draw's number, so that a run can be repeated.
///
/// @param sampling how sigma is drawn
/// @param guidance guidance scale that is given in training; null for models without guidance
/// @param seed of noise and sigma
public record FlowMatching(Sampling sampling, @Nullable Float guidance, long seed) {
    private static final long STRIDE = 0x9E3779B97F4A7C15L;

    /// How sigma is drawn.
    public enum Sampling {
        /// Evenly between 0 and 1.
        UNIFORM,
        /// The logistic function of a standard normal number: more often in the middle.
        LOGIT_NORMAL
    }

    /// What a draw gives: inputs and target of the loss.
    public record Draw(FluxInputs inputs, Matrix target) {}

    /// Noise and sigma for one row.
    ///
    /// @param number of the draw, another one for each use of a row
    /// @param arena owns the result
    public Draw draw(FluxRow row, long number, Arena arena) {
        SplittableRandom random = new SplittableRandom(seed + STRIDE * (number + 1));
        float sigma =
                switch (sampling) {
                    case UNIFORM -> (float) random.nextDouble();
                    case LOGIT_NORMAL -> (float) (1 / (1 + Math.exp(-random.nextGaussian())));
                };
        Matrix noise = Matrix.allocate(arena, row.latents().rows(), row.latents().columns());
        for (int token = 0; token < noise.rows(); token++) {
            for (int channel = 0; channel < noise.columns(); channel++) {
                noise.set(token, channel, (float) random.nextGaussian());
            }
        }
        return draw(row, sigma, noise, arena);
    }

    /// The task for given noise and sigma.
    public Draw draw(FluxRow row, float sigma, Matrix noise, Arena arena) {
        Matrix latents = row.latents();
        Matrix input = Matrix.allocate(arena, latents.rows(), row.inChannels());
        Matrix target = Matrix.allocate(arena, latents.rows(), latents.columns());
        Matrix control = row.control();
        if (control != null) {
            input.columns(latents.columns(), input.columns()).copyFrom(control);
        }
        for (int token = 0; token < latents.rows(); token++) {
            for (int channel = 0; channel < latents.columns(); channel++) {
                float clean = latents.get(token, channel);
                float random = noise.get(token, channel);
                input.set(token, channel, (1 - sigma) * clean + sigma * random);
                target.set(token, channel, random - clean);
            }
        }
        FluxInputs inputs =
                new FluxInputs(
                        input,
                        row.encoderHiddenStates(),
                        row.pooledProjections(),
                        sigma,
                        guidance,
                        row.imageIds(),
                        row.textIds());
        return new Draw(inputs, target);
    }
}
