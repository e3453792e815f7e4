package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// Rotary position embedding (Su et al., arXiv 2104.09864) in the half-split layout of Hugging Face: element i of a
/// head is rotated together with element i + headDim / 2.
///
///     frequency_i = theta^(-2 i / headDim), stretched by the scaling       i in [0, headDim / 2)
///     angle       = position * frequency_i
///     y_i             = x_i cos - x_{i + headDim/2} sin
///     y_{i+headDim/2} = x_{i + headDim/2} cos + x_i sin
///
/// Frequencies and angles are rounded to f32 at each step where transformers does it. The table is immutable and holds
/// the positions `[0, positions)`; whoever needs more builds a larger one.
public final class RotaryTable {
    private final int headDim;
    private final int positions;
    private final float[] frequencies;
    private final float[] cosines;
    private final float[] sines;

    /// @param theta base of the frequencies (`rope_theta`)
    /// @param headDim features of one head, even
    /// @param positions number of positions the table holds
    public RotaryTable(double theta, int headDim, int positions, RotaryScaling scaling) {
        if (headDim < 2 || headDim % 2 != 0) {
            throw new IllegalArgumentException("headDim: expected an even number of at least 2, found " + headDim);
        }
        if (positions < 1) {
            throw new IllegalArgumentException("positions: expected at least 1, found " + positions);
        }
        this.headDim = headDim;
        this.positions = positions;
        this.frequencies = frequencies(theta, headDim, scaling);
        int half = headDim / 2;
        this.cosines = new float[Math.multiplyExact(positions, half)];
        this.sines = new float[cosines.length];
        for (int position = 0; position < positions; position++) {
            for (int i = 0; i < half; i++) {
                float angle = position * frequencies[i];
                cosines[position * half + i] = (float) Math.cos(angle);
                sines[position * half + i] = (float) Math.sin(angle);
            }
        }
    }

    /// Number of positions the table holds.
    public int positions() {
        return positions;
    }

    /// Features of one head.
    public int headDim() {
        return headDim;
    }

    /// A copy of the stretched frequencies (`inv_freq`), headDim / 2 of them.
    public float[] frequencies() {
        return frequencies.clone();
    }

    /// Rotates every head of every row of x in place.
    ///
    /// @param x (tokens, heads * headDim)
    /// @param tokenPositions position of each row, at least x.rows() long
    /// @param inverse rotates back: the transpose, which is the backward pass
    /// @throws IllegalArgumentException for a position outside the table
    public void apply(Compute compute, Matrix x, int[] tokenPositions, boolean inverse) {
        if (x.columns() % headDim != 0) {
            throw new IllegalArgumentException(
                    "x: expected columns in multiples of headDim " + headDim + ", found " + x.columns());
        }
        if (tokenPositions.length < x.rows()) {
            throw new IllegalArgumentException(
                    "tokenPositions: expected at least " + x.rows() + ", found " + tokenPositions.length);
        }
        for (int row = 0; row < x.rows(); row++) {
            if (tokenPositions[row] < 0 || tokenPositions[row] >= positions) {
                throw new IllegalArgumentException(
                        "tokenPositions["
                                + row
                                + "]: expected 0 to "
                                + (positions - 1)
                                + ", found "
                                + tokenPositions[row]
                                + "; build a table for more positions");
            }
        }
        RowTasks.take(compute).rotate(x, headDim, cosines, sines, tokenPositions, inverse);
    }

    private static float[] frequencies(double theta, int headDim, RotaryScaling scaling) {
        float[] frequencies = new float[headDim / 2];
        for (int i = 0; i < frequencies.length; i++) {
            float exponent = (float) (2 * i) / headDim;
            frequencies[i] = scaled(1 / (float) Math.pow(theta, exponent), scaling);
        }
        return frequencies;
    }

    private static float scaled(float frequency, RotaryScaling scaling) {
        return switch (scaling) {
            case RotaryScaling.None none -> frequency;
            case RotaryScaling.Linear linear -> frequency / linear.factor();
            case RotaryScaling.Llama3 llama3 -> {
                float low = llama3.lowFreqFactor();
                float high = llama3.highFreqFactor();
                int original = llama3.originalMaxPositions();
                float wavelength = (float) (2 * Math.PI) / frequency;
                if (wavelength > (float) ((double) original / low)) {
                    yield frequency / llama3.factor();
                }
                if (wavelength < (float) ((double) original / high)) {
                    yield frequency;
                }
                float smooth = (original / wavelength - low) / (float) ((double) high - low);
                yield (1 - smooth) * frequency / llama3.factor() + smooth * frequency;
            }
        };
    }
}
