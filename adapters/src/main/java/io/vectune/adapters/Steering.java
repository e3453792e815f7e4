package io.vectune.adapters;

import java.util.Arrays;
import java.util.Objects;

/// The steering coefficient a of each row of a call: 1 is the adapter as trained, 0 the base, -1 the opposite.
public final class Steering {
    /// The adapter as trained, for all rows.
    public static final Steering ONE = new Steering(1, new float[0]);

    private final float all;
    private final float[] perRow;

    private Steering(float all, float[] perRow) {
        this.all = all;
        this.perRow = perRow;
    }

    /// The same coefficient for all rows.
    public static Steering of(float coefficient) {
        return coefficient == 1 ? ONE : new Steering(checkFinite(coefficient), new float[0]);
    }

    /// One coefficient a row (tokens of one sample usually share one).
    public static Steering ofRows(float... coefficients) {
        for (float coefficient : coefficients) {
            checkFinite(coefficient);
        }
        return new Steering(1, coefficients.clone());
    }

    /// One coefficient a sample, each sample `tokensPerSample` rows.
    public static Steering ofSamples(int tokensPerSample, float... coefficients) {
        float[] rows = new float[Math.multiplyExact(coefficients.length, tokensPerSample)];
        for (int sample = 0; sample < coefficients.length; sample++) {
            Arrays.fill(
                    rows, sample * tokensPerSample, (sample + 1) * tokensPerSample, checkFinite(coefficients[sample]));
        }
        return new Steering(1, rows);
    }

    /// Whether all rows have the same coefficient.
    public boolean isUniform() {
        return perRow.length == 0;
    }

    /// The coefficient of a row.
    public float at(int row) {
        return perRow.length == 0 ? all : perRow[row];
    }

    /// The end of the run of rows from `row` on that share its coefficient.
    public int runEnd(int row, int rows) {
        if (perRow.length == 0) {
            return rows;
        }
        int end = row + 1;
        while (end < rows && perRow[end] == perRow[row]) {
            end++;
        }
        return end;
    }

    Steering rows(int from, int to) {
        if (perRow.length == 0) {
            return this;
        }
        Objects.checkFromToIndex(from, to, perRow.length);
        return new Steering(1, Arrays.copyOfRange(perRow, from, to));
    }

    /// The coefficients of some of the rows, in their order.
    ///
    /// @throws IndexOutOfBoundsException if a row has none
    public Steering select(int[] rows) {
        if (perRow.length == 0) {
            return this;
        }
        float[] selected = new float[rows.length];
        for (int index = 0; index < rows.length; index++) {
            selected[index] = perRow[rows[index]];
        }
        return new Steering(1, selected);
    }

    private static float checkFinite(float coefficient) {
        if (!Float.isFinite(coefficient)) {
            throw new IllegalArgumentException("steering: expected finite coefficients, found " + coefficient);
        }
        return coefficient;
    }
}
