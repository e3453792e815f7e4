package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The two tiers of the solver give the same bits at awkward lengths.
class HqqSolverKernelsTest {
    private final SolverKernels scalar = new ScalarSolverKernels();
    private final SolverKernels vector = new VectorSolverKernels();

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257})
    void tiersAgree(int count) {
        try (Arena arena = Arena.ofConfined()) {
            Tensor weights = HqqInputs.gaussian(arena, 1, count + 5, count, 0.3);
            float[] inverse = HqqInputs.values(1, count + 2, 9, 1.0, "positive");
            float[] zero = HqqInputs.values(1, count + 2, 10, 3.0, "none");
            float[][] target = new float[2][count + 4];
            float[][] error = new float[2][count + 4];
            int[][] words = new int[2][count + 4];
            float[][] min = new float[2][count + 2];
            float[][] max = new float[2][count + 2];
            SolverKernels[] tiers = {scalar, vector};
            boolean[] small = new boolean[2];
            boolean[] smallAcross = new boolean[2];
            for (int t = 0; t < 2; t++) {
                small[t] = tiers[t].step(weights.segment(), 5, count, 7.3f, 6.6f, 15f, target[t], 1, error[t], 2);
                tiers[t].codes(weights.segment(), 5, count, 7.3f, 6.6f, 15f, 4, words[t], 3);
                tiers[t].range(weights.segment(), 3, count, min[t]);
            }
            assertThat(small[1]).isEqualTo(small[0]);
            assertSame(target, error, min, max);
            for (int t = 0; t < 2; t++) {
                smallAcross[t] =
                        tiers[t].stepAcross(
                                weights.segment(), 4, count, inverse, zero, 2, 3f, target[t], 0, error[t], 1);
                tiers[t].codesAcross(weights.segment(), 4, count, inverse, zero, 1, 7f, 2, words[t], 0);
                tiers[t].rangeAcross(weights.segment(), 2, count, min[t], max[t], 1);
                tiers[t].add(target[t], 0, count, error[t], 2);
            }
            assertThat(smallAcross[1]).isEqualTo(smallAcross[0]);
            assertThat(words[1]).isEqualTo(words[0]);
            assertSame(target, error, min, max);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 15, 16})
    void sumsRowsInOrder(int rows) {
        float[] values = HqqInputs.values(1, rows * 32 + 3, 2, 1.0, "none");
        float[] a = new float[32];
        float[] b = new float[32];
        scalar.sumRows(values, 3, rows, a);
        vector.sumRows(values, 3, rows, b);
        assertThat(b).isEqualTo(a);
    }

    @ParameterizedTest
    @ValueSource(ints = {32, 64, 96, 512})
    void meansHaveTheOrderOfTheCascade(int groupSize) {
        int groups = 21;
        float[] values = HqqInputs.values(groups, groupSize, 4, 1.0, "none");
        float[] scratch = new float[SolverKernels.MEANS_SCRATCH];
        float[] a = new float[groups + 2];
        float[] b = new float[groups + 2];
        scalar.means(values, groupSize, groups, a, 1, scratch);
        vector.means(values, groupSize, groups, b, 1, scratch);
        assertThat(b).isEqualTo(a);
        CascadeSum sum = new CascadeSum(groupSize);
        for (int group = 0; group < groups; group++) {
            assertThat(a[1 + group]).isEqualTo(sum.sum(values, group * groupSize) / groupSize);
        }
    }

    private static void assertSame(float[][]... pairs) {
        for (float[][] pair : pairs) {
            for (int i = 0; i < pair[0].length; i++) {
                // zeros may differ in sign: sums of targets start from +0
                assertThat(pair[1][i] + 0f).isEqualTo(pair[0][i] + 0f);
            }
        }
    }
}
