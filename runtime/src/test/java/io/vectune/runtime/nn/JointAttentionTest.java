package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class JointAttentionTest extends KernelTest {
    /// Attention of all rows over all rows, in double.
    private static double[] oracle(int heads, int dim, int length, double[] q, double[] k, double[] v) {
        int columns = heads * dim;
        double[] out = new double[q.length];
        for (int head = 0; head < heads; head++) {
            for (int i = 0; i < length; i++) {
                double[] scores = new double[length];
                double total = 0;
                for (int j = 0; j < length; j++) {
                    for (int d = 0; d < dim; d++) {
                        scores[j] += q[i * columns + head * dim + d] * k[j * columns + head * dim + d];
                    }
                    scores[j] = Math.exp(scores[j] / Math.sqrt(dim));
                    total += scores[j];
                }
                for (int j = 0; j < length; j++) {
                    for (int d = 0; d < dim; d++) {
                        out[i * columns + head * dim + d] += scores[j] / total * v[j * columns + head * dim + d];
                    }
                }
            }
        }
        return out;
    }

    private Matrix[] run(Compute with, int heads, int dim, int length, Matrix q, Matrix k, Matrix v, Matrix g) {
        AttentionShape shape = AttentionShape.joint(heads, dim);
        Matrix out = Numbers.poisoned(arena, length, heads * dim);
        Matrix logSumExp = Numbers.poisoned(arena, length, heads);
        Matrix gradQ = Numbers.poisoned(arena, length, heads * dim);
        Matrix gradK = Numbers.poisoned(arena, length, heads * dim);
        Matrix gradV = Numbers.poisoned(arena, length, heads * dim);
        Attention.forward(with, shape, q, k, v, out, logSumExp, 1, length);
        Attention.backward(with, shape, q, k, v, out, logSumExp, g, gradQ, gradK, gradV, 1, length);
        return new Matrix[] {out, gradQ, gradK, gradV};
    }

    @ParameterizedTest
    @CsvSource({"1, 4, 1", "2, 5, 7", "1, 8, 19", "3, 16, 9"})
    void matchesTheDoubleOracleAndItsDifferences(int heads, int dim, int length) {
        Matrix q = Numbers.random(arena, random, length, heads * dim);
        Matrix k = Numbers.random(arena, random, length, heads * dim);
        Matrix v = Numbers.random(arena, random, length, heads * dim);
        Matrix g = Numbers.random(arena, random, length, heads * dim);
        Matrix[] results = run(compute, heads, dim, length, q, k, v, g);
        double[] qs = Numbers.doubles(q);
        double[] ks = Numbers.doubles(k);
        double[] vs = Numbers.doubles(v);
        double[] gs = Numbers.doubles(g);
        Numbers.assertClose(results[0], oracle(heads, dim, length, qs, ks, vs), 2e-6);
        if (length > 1) {
            Numbers.assertClose(
                    results[1],
                    Numbers.gradient(x -> Numbers.inner(gs, oracle(heads, dim, length, x, ks, vs)), qs),
                    1e-5);
            Numbers.assertClose(
                    results[2],
                    Numbers.gradient(x -> Numbers.inner(gs, oracle(heads, dim, length, qs, x, vs)), ks),
                    1e-5);
        }
        Numbers.assertClose(
                results[3], Numbers.gradient(x -> Numbers.inner(gs, oracle(heads, dim, length, qs, ks, x)), vs), 1e-5);
    }

    @ParameterizedTest
    @CsvSource({"1, 32, 64", "2, 64, 65", "1, 128, 200", "3, 20, 130", "1, 32, 500"})
    void tilesAndPartsMatchTheScalarKernel(int heads, int dim, int length) {
        AttentionShape shape = AttentionShape.joint(heads, dim);
        Matrix q = Numbers.random(arena, random, length, heads * dim);
        Matrix k = Numbers.random(arena, random, length, heads * dim);
        Matrix v = Numbers.random(arena, random, length, heads * dim);
        Matrix g = Numbers.random(arena, random, length, heads * dim);
        Matrix[] results = run(compute, heads, dim, length, q, k, v, g);
        AttentionKernel scalar = new AttentionScalar();
        Matrix out = Numbers.poisoned(arena, length, heads * dim);
        Matrix logSumExp = Numbers.poisoned(arena, length, heads);
        Matrix along = Numbers.poisoned(arena, length, heads);
        Matrix gradQ = Numbers.poisoned(arena, length, heads * dim);
        Matrix gradK = Numbers.poisoned(arena, length, heads * dim);
        Matrix gradV = Numbers.poisoned(arena, length, heads * dim);
        for (int head = 0; head < heads; head++) {
            scalar.forward(compute, 0, shape, q, 0, k, v, 0, length, length, out, logSumExp, head, 0, length);
        }
        scalar.rowProducts(shape, g, out, along, new float[16], 0, length);
        for (int head = 0; head < heads; head++) {
            scalar.backward(
                    compute, 0, shape, q, k, v, logSumExp, along, g, 0, length, head, 0, length, gradQ, 0, gradK,
                    gradV);
        }
        Matrix[] expected = {out, gradQ, gradK, gradV};
        for (int i = 0; i < expected.length; i++) {
            Numbers.assertClose(results[i], expected[i], 1e-5);
        }
    }

    @Test
    void bitsDoNotDependOnThreads() {
        int length = 300;
        Matrix q = Numbers.random(arena, random, length, 64);
        Matrix k = Numbers.random(arena, random, length, 64);
        Matrix v = Numbers.random(arena, random, length, 64);
        Matrix g = Numbers.random(arena, random, length, 64);
        Matrix[] many = run(compute, 2, 32, length, q, k, v, g);
        Matrix[] one = run(single, 2, 32, length, q, k, v, g);
        for (int i = 0; i < many.length; i++) {
            Numbers.assertSameBits(many[i], one[i]);
        }
    }

    @Test
    void refusesACacheForAJointShape() {
        AttentionShape shape = AttentionShape.joint(1, 8);
        Matrix x = Numbers.random(arena, random, 2, 8);
        Matrix out = Numbers.poisoned(arena, 2, 8);
        assertThatThrownBy(() -> Attention.forwardCached(compute, shape, x, x, x, 0, out))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("causal");
        assertThat(shape.group()).isEqualTo(1);
    }
}
