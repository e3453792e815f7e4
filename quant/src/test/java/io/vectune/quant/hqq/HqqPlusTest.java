package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.BitBudget;
import io.vectune.quant.LowRankCorrection;
import io.vectune.quant.QuantizationError;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class HqqPlusTest {
    private static final int OUT = 48;
    private static final int IN = 64;

    @Test
    void zeroPointsAreALowRankTermThatFoldsIntoAnAdapter() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, OUT, IN, 3, 0.05);
            for (int group : new int[] {8, 16, IN}) {
                HqqWeight weight =
                        HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.ONE, group, 1), arena);
                ZeroPointTerm term = ZeroPointTerm.of(weight, 0.5f, arena);
                assertThat(term.loraA().rows()).isEqualTo(IN / group);
                HqqWeight fixed = ZeroPointTerm.withFixedZeroPoint(weight, 0.5f, arena);
                Matrix a = Matrix.copyOf(arena, 3, IN, HqqInputs.values(3, IN, 4, 0.1, "none"));
                Matrix b = Matrix.copyOf(arena, OUT, 3, HqqInputs.values(OUT, 3, 5, 0.1, "none"));
                ZeroPointTerm folded = term.foldedInto(a, b, 2f, arena);
                float[] w = decoded(weight);
                float[] f = decoded(fixed);
                for (int o = 0; o < OUT; o++) {
                    for (int i = 0; i < IN; i++) {
                        double expected = w[o * IN + i] + 2 * product(b, a, o, i);
                        double found = f[o * IN + i] + 2 * product(folded.loraB(), folded.loraA(), o, i);
                        assertThat(Math.abs(found - expected)).isLessThan(1e-7);
                    }
                }
            }
            HqqWeight across = HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.ONE, 8, 0), arena);
            assertThatThrownBy(() -> ZeroPointTerm.of(across, 0f, arena))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("expected axis 1");
        }
    }

    @Test
    void aCorrectionLowersTheWeightedErrorAndIsExactAtFullRank() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, OUT, IN, 3, 0.05);
            HqqWeight weight = HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.TWO, 32, 1), arena);
            double[] moment = new double[IN];
            for (int i = 0; i < IN; i++) {
                moment[i] = 0.1 + (i % 7) * (i % 7);
            }
            double last = weightedError(dense, weight, moment, null);
            for (int rank : new int[] {1, 4, 16, 32}) {
                LowRankCorrection weighted = LowRankCorrection.fit(compute, dense, weight, moment, rank, arena);
                LowRankCorrection plain = LowRankCorrection.fit(compute, dense, weight, new double[0], rank, arena);
                double error = weightedError(dense, weight, moment, weighted);
                assertThat(error).isLessThan(last);
                assertThat(error).isLessThan(weightedError(dense, weight, moment, plain));
                last = error;
            }
            LowRankCorrection full = LowRankCorrection.fit(compute, dense, weight, moment, OUT, arena);
            double none = weightedError(dense, weight, moment, null);
            assertThat(weightedError(dense, weight, moment, full)).isLessThan(1e-8 * none);
            assertThatThrownBy(() -> LowRankCorrection.fit(compute, dense, weight, moment, 0, arena))
                    .hasMessage("correction rank: expected 1 to 48, found 0");
        }
    }

    @Test
    void reportsErrors() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, OUT, IN, 3, 0.05);
            double last = 0;
            for (String bits : new String[] {"8", "4", "3", "2", "1"}) {
                HqqWeight weight =
                        HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.of(bits), 32, 1), arena);
                QuantizationError error = QuantizationError.measure(compute, dense, weight);
                assertThat(error.relativeError()).isGreaterThan(last);
                assertThat(error.worstRowError()).isGreaterThanOrEqualTo(error.relativeError());
                last = error.relativeError();
                if (!bits.equals("3")) {
                    // two f32 values a group of 32
                    assertThat(8.0 * weight.storageBytes() / (OUT * IN)).isEqualTo(Integer.parseInt(bits) + 2.0);
                }
            }
        }
    }

    @Test
    void spendsABudgetWhereItHelpsMost() {
        Map<String, List<BitBudget.Choice>> layers = new LinkedHashMap<>();
        layers.put("a", List.of(choice("2", 20, 9), choice("3", 30, 8.5), choice("4", 40, 1)));
        layers.put("b", List.of(choice("4", 40, 3), choice("2", 20, 4)));
        layers.put("c", List.of(choice("2", 20, 1), choice("4", 40, 2)));
        assertThat(names(layers, 60)).containsExactly("2", "2", "2");
        assertThat(names(layers, 79)).containsExactly("2", "2", "2");
        assertThat(names(layers, 80)).containsExactly("4", "2", "2");
        assertThat(names(layers, 1000)).containsExactly("4", "4", "2");
        assertThatThrownBy(() -> BitBudget.pick(layers, 59)).hasMessageContaining("at least 60 bytes");
    }

    private static List<String> names(Map<String, List<BitBudget.Choice>> layers, long budget) {
        return BitBudget.pick(layers, budget).values().stream().map(BitBudget.Choice::name).toList();
    }

    private static BitBudget.Choice choice(String name, long bytes, double loss) {
        return new BitBudget.Choice(name, bytes, loss);
    }

    private static float[] decoded(HqqWeight weight) {
        float[] values = new float[OUT * IN];
        weight.decode(0, OUT, 0, IN, values, 0, IN);
        return values;
    }

    private static double product(Matrix b, Matrix a, int o, int i) {
        double sum = 0;
        for (int k = 0; k < a.rows(); k++) {
            sum += (double) b.get(o, k) * a.get(k, i);
        }
        return sum;
    }

    private static double weightedError(
            Tensor dense,
            HqqWeight weight,
            double[] moment,
            @org.jspecify.annotations.Nullable LowRankCorrection correction) {
        float[] w = decoded(weight);
        double sum = 0;
        for (int o = 0; o < OUT; o++) {
            for (int i = 0; i < IN; i++) {
                double difference = dense.getFloat((long) o * IN + i) - w[o * IN + i];
                if (correction != null) {
                    difference -= product(correction.loraB(), correction.loraA(), o, i);
                }
                sum += moment[i] * difference * difference;
            }
        }
        return sum;
    }
}
