package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
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
            GroupLevels levels = levels(count + 4, 15);
            float[][] target = new float[2][count + 4];
            float[][] error = new float[2][count + 4];
            int[][] words = new int[2][count + 4];
            float[][] min = new float[2][count + 2];
            float[][] max = new float[2][count + 2];
            SolverKernels[] tiers = {scalar, vector};
            boolean[] small = new boolean[2];
            for (int t = 0; t < 2; t++) {
                tiers[t].codes(weights.segment(), 5, count, levels, 1, 4, words[t], 3);
                tiers[t].codesAcross(weights.segment(), 4, count, levels, 1, 0, words[t], 0);
                tiers[t].range(weights.segment(), 3, count, min[t]);
                tiers[t].rangeAcross(weights.segment(), 2, count, min[t], max[t], 1);
                small[t] = tiers[t].step(weights.segment(), 4, count, levels, 2, target[t], 0, error[t], 1);
                tiers[t].add(target[t], 0, count, error[t], 2);
            }
            assertThat(small[1]).isEqualTo(small[0]);
            assertThat(words[1]).isEqualTo(words[0]);
            assertSame(target, error, min, max);
        }
    }

    private static GroupLevels levels(int groups, float maxCode) {
        float[] inverse = HqqInputs.values(1, groups, 9, 1.0, "positive");
        float[] zero = HqqInputs.values(1, groups, 10, 3.0, "none");
        return new GroupLevels(inverse, zero, maxCode);
    }

    /// Far beyond the codes, also where the sum with the rounding constant of the vector tier is negative or infinite.
    @Test
    void tiersClampLargeLevelsAlike() {
        float[] values = {
            1e38f, -1e38f, 3e7f, -3e7f, 6e6f, -6e6f, -2.5e7f, 4e6f, 0.5f, 1.5f, 2.5f, -0f, 15.5f, 14.5f, 3, 4
        };
        try (Arena arena = Arena.ofConfined()) {
            Tensor weights = HqqInputs.tensor(arena, DType.F32, 1, 16, values);
            GroupLevels levels = new GroupLevels(new float[16], new float[16], 15f);
            Arrays.fill(levels.inverse(), 1f);
            int[] expected = new int[16];
            int[] found = new int[16];
            scalar.codesAcross(weights.segment(), 0, 16, levels, 0, 0, expected, 0);
            vector.codesAcross(weights.segment(), 0, 16, levels, 0, 0, found, 0);
            assertThat(found).isEqualTo(expected);
            assertThat(found).startsWith(15, 0, 15, 0, 15, 0, 0, 15, 0, 2, 2, 0, 15, 14);
        }
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void rangesSeeWhatIsNotFinite(float value) {
        for (int at = 0; at < 33; at++) {
            float[] values = new float[33];
            values[at] = value;
            try (Arena arena = Arena.ofConfined()) {
                Tensor weights = HqqInputs.tensor(arena, DType.F32, 1, 33, values);
                assertThat(vector.range(weights.segment(), 0, 33, new float[2])).isFalse();
                assertThat(scalar.range(weights.segment(), 0, 33, new float[2])).isFalse();
                assertThat(vector.ranges(values, 32, 1, new float[1], new float[1])).isEqualTo(at == 32);
                assertThat(scalar.ranges(values, 32, 1, new float[1], new float[1])).isEqualTo(at == 32);
            }
        }
    }

    /// Some of eighteen groups of one, two, three and seventeen rows.
    @ParameterizedTest
    @CsvSource({"32, 1", "64, 2", "64, 7", "96, 4", "544, 3"})
    void tiersAgreeOnGroups(int groupSize, int stride) {
        float[] weights = HqqInputs.values(18, groupSize, 3, 0.3, "signed-zeros");
        GroupLevels levels = levels(19, 15);
        int[] groups = IntStream.range(0, 18).filter(group -> group % stride == 0).toArray();
        float[][] target = new float[2][18 * groupSize];
        float[][] error = new float[2][18 * groupSize];
        float[][] min = new float[2][18];
        float[][] max = new float[2][18];
        boolean[] small = new boolean[2];
        SolverKernels[] tiers = {scalar, vector};
        for (int t = 0; t < 2; t++) {
            assertThat(tiers[t].ranges(weights, groupSize, 18, min[t], max[t])).isTrue();
            small[t] = tiers[t].stepGroups(weights, groupSize, groups, groups.length, levels, 1, target[t], error[t]);
        }
        assertThat(small[1]).isEqualTo(small[0]);
        assertSame(target, error, min, max);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 15, 16, 17, 50, 512})
    void tiersShrinkAlike(int count) {
        try (Arena arena = Arena.ofConfined()) {
            Tensor weights = HqqInputs.gaussian(arena, 1, count, count, 2.0);
            GroupLevels levels = levels(count, 1);
            float[][] target = new float[2][count];
            float[][] error = new float[2][count];
            SolverKernels[] tiers = {scalar, vector};
            float[] powers = new float[SolverKernels.POWER_SCRATCH * count];
            for (int t = 0; t < 2; t++) {
                boolean small = tiers[t].step(weights.segment(), 0, count, levels, 0, target[t], 0, error[t], 0);
                assertThat(small).isFalse();
                float[] plain = target[t].clone();
                tiers[t].shrink(weights.segment(), 0, count, levels, 0, 0.1f, target[t], 0, error[t], 0, powers);
                assertThat(target[t]).isNotEqualTo(plain);
            }
            assertSame(target, error);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 15, 16})
    void sumsRowsInOrder(int rows) {
        float[] values = HqqInputs.values(1, rows * 32 + 3, 2, 1.0, "none");
        float[] a = new float[32];
        float[] b = new float[32];
        scalar.sumRows(values, 3, rows, a, 0);
        vector.sumRows(values, 3, rows, b, 0);
        assertThat(b).isEqualTo(a);
        scalar.addRows(values, 1, rows, a, 0);
        vector.addRows(values, 1, rows, b, 0);
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
