package io.vectune.models.bench;

import io.vectune.models.bench.SpeedCase.Work;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/// The cases that a short report shows: matrix products, products with one token, a training step, a prompt, a token.
public final class SpeedSuite {
    private static final double RELATIVE_TOLERANCE = 2e-6;

    private SpeedSuite() {}

    /// All cases; about a minute together on two cores.
    public static List<SpeedCase> all() {
        List<SpeedCase> cases = new ArrayList<>();
        for (String format : List.of("f32", "hqq4", "nf4")) {
            cases.add(product(format, 512, 4096, 4096));
        }
        for (String format : List.of("f32", "hqq4", "nf4", "q4_0")) {
            cases.add(oneToken(format, 8192, 8192));
        }
        cases.add(SmolLmCases.step("f32", 4, 256));
        cases.add(SmolLmCases.step("hqq4", 4, 256));
        cases.add(SmolLmCases.prompt("q4_0", 512));
        cases.add(SmolLmCases.token("q4_0"));
        return cases;
    }

    /// y = x Wᵀ for many tokens, bound by arithmetic.
    static SpeedCase product(String format, int tokens, int outFeatures, int inFeatures) {
        String name = String.format(Locale.ROOT, "gemm %s %dx%dx%d", format, tokens, outFeatures, inFeatures);
        return new SpeedCase(
                name,
                Limit.FMA,
                "tokens",
                (compute, arena) -> {
                    Operands operands = Operands.of(compute, arena, format, tokens, outFeatures, inFeatures);
                    operands.check(name);
                    return new Work(tokens, 2.0 * tokens * outFeatures * inFeatures, operands::multiply);
                });
    }

    /// y = W x for one token, bound by the bytes of the weight.
    static SpeedCase oneToken(String format, int outFeatures, int inFeatures) {
        String name = String.format(Locale.ROOT, "matvec %s %dx%d", format, outFeatures, inFeatures);
        return new SpeedCase(
                name,
                Limit.READ,
                "weights",
                (compute, arena) -> {
                    Operands operands = Operands.of(compute, arena, format, 1, outFeatures, inFeatures);
                    operands.check(name);
                    double bytes = operands.weight().storageBytes() + 4.0 * (outFeatures + inFeatures);
                    return new Work((double) outFeatures * inFeatures, bytes, operands::multiply);
                });
    }

    private record Operands(Compute compute, Weight weight, Matrix x, Matrix y) {
        static Operands of(Compute compute, Arena arena, String format, int tokens, int outFeatures, int inFeatures) {
            return new Operands(
                    compute,
                    RandomWeights.weight(compute, arena, format, outFeatures, inFeatures),
                    RandomWeights.matrix(arena, tokens, inFeatures, 1),
                    Matrix.allocate(arena, tokens, outFeatures));
        }

        void multiply() {
            MatMul.multiply(compute, weight, x, y, false);
        }

        /// Fails unless sampled outputs are the sums of decoded weights and x in double, up to the rounding of f32.
        void check(String name) {
            multiply();
            float[] row = new float[weight.inFeatures()];
            for (int sample = 0; sample < 32; sample++) {
                int token = sample * 7919 % x.rows();
                int o = sample * 104_729 % weight.outFeatures();
                weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
                double sum = 0;
                double size = 0;
                for (int k = 0; k < row.length; k++) {
                    double term = (double) row[k] * x.get(token, k);
                    sum += term;
                    size += term * term;
                }
                // Rounding errors of a chain of sums add up like a random walk over terms of this size.
                double tolerance = RELATIVE_TOLERANCE * Math.sqrt(row.length) * Math.sqrt(size);
                if (!(Math.abs(sum - y.get(token, o)) <= tolerance)) {
                    throw new IllegalStateException(
                            name + ": y[" + token + "][" + o + "]: expected " + sum + ", found " + y.get(token, o));
                }
            }
        }
    }
}
