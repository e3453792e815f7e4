package io.vectune.runtime.nn;

/// How a model stretches its rotary frequencies; the names of Hugging Face's `rope_type`.
public sealed interface RotaryScaling {
    /// `default`: frequencies as they are.
    record None() implements RotaryScaling {}

    /// `linear`: all frequencies divided by `factor`.
    record Linear(float factor) implements RotaryScaling {
        public Linear {
            requirePositive("factor", factor);
        }
    }

    /// `llama3`: wavelengths beyond `originalMaxPositions / lowFreqFactor` are stretched by `factor`, those below
    /// `originalMaxPositions / highFreqFactor` stay, those between are blended.
    record Llama3(float factor, float lowFreqFactor, float highFreqFactor, int originalMaxPositions)
            implements RotaryScaling {
        public Llama3 {
            requirePositive("factor", factor);
            requirePositive("low_freq_factor", lowFreqFactor);
            requirePositive("high_freq_factor", highFreqFactor);
            requirePositive("original_max_position_embeddings", originalMaxPositions);
            if (highFreqFactor <= lowFreqFactor) {
                throw new IllegalArgumentException(
                        "high_freq_factor: expected more than low_freq_factor "
                                + lowFreqFactor
                                + ", found "
                                + highFreqFactor);
            }
        }
    }

    private static void requirePositive(String name, float value) {
        if (!(value > 0)) {
            throw new IllegalArgumentException(name + ": expected a positive number, found " + value);
        }
    }
}
