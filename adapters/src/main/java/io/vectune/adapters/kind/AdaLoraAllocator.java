package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.StepRule;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/// AdaLoRA's rank allocator: keeps the triplets whose parameters matter most, under a budget that falls over training.
///
///     sensitivity  I = |p grad p|, smoothed with beta1 to S; uncertainty U smooths |I - S| with beta2; score S U
///     a triplet's score: that of E_k, plus the mean over A's row k, plus the mean over B's column k
///     budget(t): all until warmupSteps, then cubic down to targetRank * layers, reached finalSteps before the end
///
/// Call [#afterStep] after each optimizer step with that step's gradients; triplets below the threshold get E = 0. In the
/// last steps the last choice stays in force.
///
/// Source    peft tuners/adalora/layer.py (RankAllocator)
public final class AdaLoraAllocator implements StepRule {
    /// When and how much is pruned.
    ///
    /// @param targetRank average rank a layer at the end
    /// @param warmupSteps steps before pruning (tinit)
    /// @param finalSteps steps after pruning (tfinal)
    /// @param interval steps between two prunings (deltaT)
    /// @param totalSteps all steps
    /// @param beta1 smoothing of the sensitivity
    /// @param beta2 smoothing of the uncertainty
    public record Schedule(
            int targetRank,
            int warmupSteps,
            int finalSteps,
            int interval,
            int totalSteps,
            double beta1,
            double beta2) {}

    private final Schedule schedule;
    private final List<AdaLora> layers;
    private final List<float[][]> sensitivity = new ArrayList<>();
    private final List<float[][]> uncertainty = new ArrayList<>();
    private final List<boolean[]> kept = new ArrayList<>();
    private int initialBudget;

    /// @param adapters the adapters of the layers; all of the kind adalora
    public AdaLoraAllocator(Schedule schedule, List<? extends Adapter> adapters) {
        if (schedule.totalSteps() <= schedule.warmupSteps() + schedule.finalSteps()) {
            throw new IllegalArgumentException(
                    "adalora: total_step: expected more than tinit + tfinal = "
                            + (schedule.warmupSteps() + schedule.finalSteps())
                            + ", found "
                            + schedule.totalSteps());
        }
        this.schedule = schedule;
        this.layers = adapters.stream().map(AdaLora.class::cast).toList();
        for (AdaLora layer : layers) {
            int rank = layer.loraE().columns();
            initialBudget += rank;
            float[][] zeros = new float[3][];
            float[][] more = new float[3][];
            for (int p = 0; p < 3; p++) {
                Matrix values = layer.parameters().get(p).values();
                zeros[p] = new float[values.rows() * values.columns()];
                more[p] = new float[zeros[p].length];
            }
            sensitivity.add(zeros);
            uncertainty.add(more);
            boolean[] all = new boolean[rank];
            Arrays.fill(all, true);
            kept.add(all);
        }
    }

    /// The number of triplets allowed after a step.
    public int budget(int step) {
        int target = schedule.targetRank() * layers.size();
        if (step <= schedule.warmupSteps()) {
            return initialBudget;
        }
        if (step > schedule.totalSteps() - schedule.finalSteps()) {
            return target;
        }
        double left =
                1
                        - (double) (step - schedule.warmupSteps())
                                / (schedule.totalSteps() - schedule.finalSteps() - schedule.warmupSteps());
        return (int) ((initialBudget - target) * left * left * left + target);
    }

    /// Updates scores and prunes, as PEFT's `update_and_allocate(step)`.
    @Override
    public void afterStep(int step, List<List<Matrix>> gradients) {
        int end = schedule.totalSteps() - schedule.finalSteps();
        if (step < end) {
            updateScores(gradients);
            if (step > schedule.warmupSteps() && step % schedule.interval() == 0) {
                prune(budget(step));
            }
        } else if (step == end) {
            prune(budget(step));
        } else {
            mask();
        }
    }

    private void updateScores(List<List<Matrix>> gradients) {
        for (int index = 0; index < layers.size(); index++) {
            for (int p = 0; p < 3; p++) {
                float[] values = layers.get(index).parameters().get(p).values().toArray();
                float[] gradient = gradients.get(index).get(p).toArray();
                float[] s = sensitivity.get(index)[p];
                float[] u = uncertainty.get(index)[p];
                for (int i = 0; i < values.length; i++) {
                    float now = Math.abs(values[i] * gradient[i]);
                    s[i] = (float) (schedule.beta1() * s[i] + (1 - schedule.beta1()) * now);
                    u[i] = (float) (schedule.beta2() * u[i] + (1 - schedule.beta2()) * Math.abs(now - s[i]));
                }
            }
        }
    }

    private double[] scores(int index) {
        AdaLora layer = layers.get(index);
        int rank = layer.loraE().columns();
        int in = layer.inFeatures();
        int out = layer.outFeatures();
        float[][] s = sensitivity.get(index);
        float[][] u = uncertainty.get(index);
        double[] score = new double[rank];
        for (int k = 0; k < rank; k++) {
            double ofA = 0;
            for (int i = 0; i < in; i++) {
                ofA += s[0][k * in + i] * u[0][k * in + i];
            }
            double ofB = 0;
            for (int o = 0; o < out; o++) {
                ofB += s[1][o * rank + k] * u[1][o * rank + k];
            }
            score[k] = s[2][k] * u[2][k] + ofA / in + ofB / out;
        }
        return score;
    }

    private void prune(int budget) {
        double[] all = new double[initialBudget];
        int at = 0;
        for (int index = 0; index < layers.size(); index++) {
            double[] score = scores(index);
            System.arraycopy(score, 0, all, at, score.length);
            at += score.length;
        }
        Arrays.sort(all);
        double threshold = budget >= initialBudget ? Double.NEGATIVE_INFINITY : all[initialBudget - budget - 1];
        for (int index = 0; index < layers.size(); index++) {
            double[] score = scores(index);
            for (int k = 0; k < score.length; k++) {
                kept.get(index)[k] = score[k] > threshold;
            }
        }
        mask();
    }

    private void mask() {
        for (int index = 0; index < layers.size(); index++) {
            Matrix e = layers.get(index).loraE();
            for (int k = 0; k < e.columns(); k++) {
                if (!kept.get(index)[k]) {
                    e.set(0, k, 0);
                }
            }
        }
    }

    @Override
    public Map<String, Matrix> state() {
        Map<String, Matrix> state = new LinkedHashMap<>();
        for (int index = 0; index < layers.size(); index++) {
            for (int p = 0; p < 3; p++) {
                state.put("adalora." + index + ".sensitivity." + p, row(sensitivity.get(index)[p]));
                state.put("adalora." + index + ".uncertainty." + p, row(uncertainty.get(index)[p]));
            }
            boolean[] keeps = kept.get(index);
            float[] values = new float[keeps.length];
            for (int k = 0; k < keeps.length; k++) {
                values[k] = keeps[k] ? 1 : 0;
            }
            state.put("adalora." + index + ".kept", row(values));
        }
        return state;
    }

    private static Matrix row(float[] values) {
        Matrix row = Matrix.allocate(Arena.ofAuto(), 1, values.length);
        for (int i = 0; i < values.length; i++) {
            row.set(0, i, values[i]);
        }
        return row;
    }

    @Override
    public void restore(Map<String, Matrix> state) {
        for (int index = 0; index < layers.size(); index++) {
            for (int p = 0; p < 3; p++) {
                sensitivity.get(index)[p] = values(state, "adalora." + index + ".sensitivity." + p);
                uncertainty.get(index)[p] = values(state, "adalora." + index + ".uncertainty." + p);
            }
            float[] keeps = values(state, "adalora." + index + ".kept");
            for (int k = 0; k < keeps.length; k++) {
                kept.get(index)[k] = keeps[k] != 0;
            }
        }
    }

    private static float[] values(Map<String, Matrix> state, String name) {
        return Objects.requireNonNull(state.get(name), name).toArray();
    }
}
