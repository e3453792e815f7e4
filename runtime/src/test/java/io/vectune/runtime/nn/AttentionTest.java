package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AttentionTest extends KernelTest {
    /// Operands and results of one training call.
    private final class Case {
        final AttentionShape shape;
        final int batch;
        final int length;
        final Matrix q;
        final Matrix k;
        final Matrix v;
        final Matrix gradOut;
        final Matrix out;
        final Matrix logSumExp;
        final Matrix gradQ;
        final Matrix gradK;
        final Matrix gradV;

        Case(AttentionShape shape, int batch, int length) {
            this.shape = shape;
            this.batch = batch;
            this.length = length;
            int tokens = batch * length;
            q = Numbers.random(arena, random, tokens, shape.queryColumns());
            k = Numbers.random(arena, random, tokens, shape.keyValueColumns());
            v = Numbers.random(arena, random, tokens, shape.keyValueColumns());
            gradOut = Numbers.random(arena, random, tokens, shape.queryColumns());
            out = Numbers.poisoned(arena, tokens, shape.queryColumns());
            logSumExp = Numbers.poisoned(arena, tokens, shape.heads());
            gradQ = Numbers.poisoned(arena, tokens, shape.queryColumns());
            gradK = Numbers.poisoned(arena, tokens, shape.keyValueColumns());
            gradV = Numbers.poisoned(arena, tokens, shape.keyValueColumns());
        }

        void run(Compute with) {
            Attention.forward(with, shape, q, k, v, out, logSumExp, batch, length);
            Attention.backward(with, shape, q, k, v, out, logSumExp, gradOut, gradQ, gradK, gradV, batch, length);
        }
    }

    /// Attention in double: row i of a sequence sees keys `[0, keysBefore + i]`.
    private static double[] oracle(
            AttentionShape shape, double[] q, double[] k, double[] v, int batch, int rows, int keys, int keysBefore) {
        int dim = shape.headDim();
        double[] out = new double[q.length];
        for (int b = 0; b < batch; b++) {
            for (int head = 0; head < shape.heads(); head++) {
                int keyHead = head / shape.group();
                for (int i = 0; i < rows; i++) {
                    int at = (b * rows + i) * shape.queryColumns() + head * dim;
                    double[] scores = new double[Math.min(keys, keysBefore + i + 1)];
                    double max = Double.NEGATIVE_INFINITY;
                    for (int j = 0; j < scores.length; j++) {
                        int keyAt = (b * keys + j) * shape.keyValueColumns() + keyHead * dim;
                        for (int d = 0; d < dim; d++) {
                            scores[j] += q[at + d] * k[keyAt + d] / Math.sqrt(dim);
                        }
                        max = Math.max(max, scores[j]);
                    }
                    double total = 0;
                    for (int j = 0; j < scores.length; j++) {
                        scores[j] = Math.exp(scores[j] - max);
                        total += scores[j];
                    }
                    for (int j = 0; j < scores.length; j++) {
                        int keyAt = (b * keys + j) * shape.keyValueColumns() + keyHead * dim;
                        for (int d = 0; d < dim; d++) {
                            out[at + d] += scores[j] / total * v[keyAt + d];
                        }
                    }
                }
            }
        }
        return out;
    }

    @ParameterizedTest
    @CsvSource({
        "1, 1, 32, 1, 1",
        "2, 1, 64, 2, 17",
        "3, 1, 64, 1, 64",
        "9, 3, 64, 2, 65",
        "4, 2, 80, 1, 130",
        "2, 2, 96, 1, 127",
        "3, 3, 128, 1, 100",
        "2, 1, 20, 3, 33",
        "2, 1, 7, 1, 9",
    })
    void forwardMatchesTheDoubleOracle(int heads, int keyValueHeads, int headDim, int batch, int length) {
        Case c = new Case(new AttentionShape(heads, keyValueHeads, headDim), batch, length);
        Attention.forward(compute, c.shape, c.q, c.k, c.v, c.out, c.logSumExp, batch, length);
        double[] expected =
                oracle(
                        c.shape,
                        Numbers.doubles(c.q),
                        Numbers.doubles(c.k),
                        Numbers.doubles(c.v),
                        batch,
                        length,
                        length,
                        0);
        Numbers.assertClose(c.out, expected, 2e-6);
    }

    @ParameterizedTest
    @CsvSource({"2, 1, 4, 1, 2", "2, 1, 5, 2, 7", "4, 2, 3, 1, 19", "1, 1, 8, 1, 34"})
    void backwardMatchesFiniteDifferencesOfTheOracle(int heads, int keyValueHeads, int headDim, int batch, int length) {
        Case c = new Case(new AttentionShape(heads, keyValueHeads, headDim), batch, length);
        c.run(compute);
        double[] q = Numbers.doubles(c.q);
        double[] k = Numbers.doubles(c.k);
        double[] v = Numbers.doubles(c.v);
        double[] g = Numbers.doubles(c.gradOut);
        Numbers.assertClose(
                c.gradQ,
                Numbers.gradient(x -> Numbers.inner(g, oracle(c.shape, x, k, v, batch, length, length, 0)), q),
                1e-5);
        Numbers.assertClose(
                c.gradK,
                Numbers.gradient(x -> Numbers.inner(g, oracle(c.shape, q, x, v, batch, length, length, 0)), k),
                1e-5);
        Numbers.assertClose(
                c.gradV,
                Numbers.gradient(x -> Numbers.inner(g, oracle(c.shape, q, k, x, batch, length, length, 0)), v),
                1e-5);
    }

    @ParameterizedTest
    @CsvSource({
        "1, 1, 32, 1, 63",
        "3, 1, 64, 1, 300",
        "9, 3, 64, 2, 65",
        "4, 2, 80, 1, 129",
        "2, 2, 96, 1, 191",
        "2, 2, 128, 2, 70",
        "2, 1, 20, 3, 33",
    })
    void vectorKernelMatchesTheScalarOne(int heads, int keyValueHeads, int headDim, int batch, int length) {
        Case c = new Case(new AttentionShape(heads, keyValueHeads, headDim), batch, length);
        Matrix[] scalar = runKernel(new AttentionScalar(), c);
        Matrix[] vector = runKernel(new AttentionVector(), c);
        for (int i = 0; i < scalar.length; i++) {
            Numbers.assertClose(vector[i], scalar[i], 1e-5);
        }
    }

    /// out, logSumExp, gradQ, gradK, gradV by one kernel, the keys of backward in one part.
    private Matrix[] runKernel(AttentionKernel kernel, Case c) {
        AttentionShape shape = c.shape;
        int tokens = c.batch * c.length;
        Matrix out = Numbers.poisoned(arena, tokens, shape.queryColumns());
        Matrix logSumExp = Numbers.poisoned(arena, tokens, shape.heads());
        Matrix along = Numbers.poisoned(arena, tokens, shape.heads());
        Matrix gradQ = Numbers.poisoned(arena, tokens, shape.queryColumns());
        Matrix gradK = Numbers.poisoned(arena, tokens, shape.keyValueColumns());
        Matrix gradV = Numbers.poisoned(arena, tokens, shape.keyValueColumns());
        for (int head = 0; head < shape.keyValueHeads(); head++) {
            for (int row = 0; row < tokens; row += c.length) {
                for (int from = 0; from < c.length; from += 64) {
                    kernel.forward(
                            compute,
                            0,
                            shape,
                            c.q,
                            row,
                            c.k,
                            c.v,
                            row,
                            c.length,
                            0,
                            out,
                            logSumExp,
                            head,
                            from,
                            Math.min(c.length, from + 64));
                }
            }
        }
        kernel.rowProducts(shape, c.gradOut, out, along, new float[16], 0, tokens);
        for (int head = 0; head < shape.keyValueHeads(); head++) {
            for (int row = 0; row < tokens; row += c.length) {
                kernel.backward(
                        compute, 0, shape, c.q, c.k, c.v, logSumExp, along, c.gradOut, row, c.length, head, 0, c.length,
                        gradQ, row, gradK, gradV);
            }
        }
        return new Matrix[] {out, logSumExp, gradQ, gradK, gradV};
    }

    @ParameterizedTest
    @CsvSource({
        "2, 1, 64, 1, 0",
        "9, 3, 64, 1, 70",
        "4, 1, 80, 1, 200",
        "3, 3, 20, 5, 3",
        "9, 3, 64, 7, 120",
        "2, 1, 64, 100, 33",
        "2, 2, 96, 64, 64",
        "4, 2, 32, 70, 0"
    })
    void cachedForwardMatchesTheOracle(int heads, int keyValueHeads, int headDim, int newTokens, int start) {
        AttentionShape shape = new AttentionShape(heads, keyValueHeads, headDim);
        int known = start + newTokens;
        Matrix q = Numbers.random(arena, random, newTokens, shape.queryColumns());
        Matrix keys = Numbers.random(arena, random, known + 10, shape.keyValueColumns());
        Matrix values = Numbers.random(arena, random, known + 10, shape.keyValueColumns());
        keys.rows(known, known + 10).fill(Float.NaN);
        values.rows(known, known + 10).fill(Float.NaN);
        Matrix out = Numbers.poisoned(arena, newTokens, shape.queryColumns());
        Attention.forwardCached(compute, shape, q, keys, values, start, out);
        double[] expected =
                oracle(
                        shape,
                        Numbers.doubles(q),
                        Numbers.doubles(keys.rows(0, known)),
                        Numbers.doubles(values.rows(0, known)),
                        1,
                        newTokens,
                        known,
                        start);
        Numbers.assertClose(out, expected, 2e-6);
        Matrix alone = Numbers.poisoned(arena, newTokens, shape.queryColumns());
        Attention.forwardCached(single, shape, q, keys, values, start, alone);
        Numbers.assertSameBits(alone, out);
    }

    @ParameterizedTest
    @CsvSource({"2, 1, 64, 1", "9, 3, 64, 71", "4, 1, 80, 201", "3, 3, 20, 8", "2, 1, 96, 64", "2, 2, 128, 130"})
    void vectorStepMatchesTheScalarOne(int heads, int keyValueHeads, int headDim, int count) {
        AttentionShape shape = new AttentionShape(heads, keyValueHeads, headDim);
        Matrix q = Numbers.random(arena, random, 1, shape.queryColumns());
        Matrix keys = Numbers.random(arena, random, count, shape.keyValueColumns());
        Matrix values = Numbers.random(arena, random, count, shape.keyValueColumns());
        Matrix scalar = Numbers.poisoned(arena, 1, shape.queryColumns());
        Matrix vector = Numbers.poisoned(arena, 1, shape.queryColumns());
        for (int head = 0; head < heads; head += shape.group()) {
            int to = head + shape.group();
            new AttentionScalar().attend(compute, 0, shape, q, keys, values, count, scalar, head, to);
            new AttentionVector().attend(compute, 0, shape, q, keys, values, count, vector, head, to);
        }
        Numbers.assertClose(vector, scalar, 2e-6);
    }

    @Test
    void bitsDoNotDependOnThreadsNorOnWarmUp() {
        Case c = new Case(new AttentionShape(6, 2, 64), 1, 400);
        c.run(compute);
        int[][] first = results(c);
        for (int i = 0; i < 8; i++) {
            c.run(i % 2 == 0 ? single : compute);
        }
        assertThat(results(c)).isDeepEqualTo(first);
    }

    private static int[][] results(Case c) {
        return new int[][] {
            Numbers.bits(c.out),
            Numbers.bits(c.logSumExp),
            Numbers.bits(c.gradQ),
            Numbers.bits(c.gradK),
            Numbers.bits(c.gradV)
        };
    }

    @Test
    void splittingTheKeysGivesTheGradientOfOnePart() {
        Case split = new Case(new AttentionShape(2, 1, 64), 1, 500);
        split.run(compute);
        Matrix[] whole = runKernel(new AttentionScalar(), split);
        Numbers.assertClose(split.gradQ, whole[2], 1e-5);
        Numbers.assertClose(split.gradK, whole[3], 1e-5);
        Numbers.assertClose(split.gradV, whole[4], 1e-5);
    }

    @Test
    void laterRowsDoNotReachEarlierOnes() {
        Case c = new Case(new AttentionShape(3, 1, 32), 1, 90);
        c.run(compute);
        float[] before = c.out.rows(0, 70).toArray();
        c.k.rows(70, 90).fill(1e30f);
        c.v.rows(70, 90).fill(1e30f);
        c.run(compute);
        assertThat(c.out.rows(0, 70).toArray()).isEqualTo(before);
    }

    @Test
    void largeScoresStayFinite() {
        Case c = new Case(new AttentionShape(1, 1, 64), 1, 80);
        Elementwise.scale(compute, 1000, c.q);
        c.run(compute);
        for (Matrix result : Arrays.asList(c.out, c.logSumExp, c.gradQ, c.gradK, c.gradV)) {
            for (float value : result.toArray()) {
                assertThat(value).isFinite();
            }
        }
    }

    @Test
    void refusesHeadsThatDoNotDivide() {
        assertThatThrownBy(() -> new AttentionShape(9, 2, 64))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("keyValueHeads 2")
                .hasMessageContaining("9");
    }

    @Test
    void refusesACacheThatIsTooShort() {
        AttentionShape shape = new AttentionShape(1, 1, 8);
        Matrix q = Matrix.allocate(arena, 2, 8);
        Matrix keys = Matrix.allocate(arena, 4, 8);
        assertThatThrownBy(
                        () -> Attention.forwardCached(compute, shape, q, keys, keys, 3, Matrix.allocate(arena, 2, 8)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("at least 5 rows, found 4");
    }
}
