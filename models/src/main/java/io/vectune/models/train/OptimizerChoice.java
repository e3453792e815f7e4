package io.vectune.models.train;

/// An optimizer with its settings, with the meaning and the defaults of torch.
public sealed interface OptimizerChoice {
    /// Decoupled or coupled weight decay, as the optimizer defines it.
    double weightDecay();

    /// AdamW.
    record AdamW(double beta1, double beta2, double eps, double weightDecay) implements OptimizerChoice {
        public AdamW {
            if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1 && eps >= 0 && weightDecay >= 0)) {
                throw new IllegalArgumentException(
                        "adamw: expected betas in [0, 1), eps and weight decay of at least 0, found betas "
                                + beta1
                                + ", "
                                + beta2
                                + ", eps "
                                + eps
                                + ", weight decay "
                                + weightDecay);
            }
        }

        /// betas .9 and .999, eps 1e-8.
        public static AdamW withDefaults(double weightDecay) {
            return new AdamW(0.9, 0.999, 1e-8, weightDecay);
        }
    }

    /// Stochastic gradient descent; decay is added to the gradient.
    record Sgd(double momentum, double weightDecay) implements OptimizerChoice {
        public Sgd {
            if (!(momentum >= 0 && weightDecay >= 0)) {
                throw new IllegalArgumentException(
                        "sgd: expected momentum and weight decay of at least 0, found "
                                + momentum
                                + " and "
                                + weightDecay);
            }
        }
    }
}
