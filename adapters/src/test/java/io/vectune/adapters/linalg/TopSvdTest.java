package io.vectune.adapters.linalg;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import org.junit.jupiter.api.Test;

class TopSvdTest {
    // A weight with a spectrum like a trained layer's: a few strong directions over a slow decay.
    private static Tensor weight(Arena arena, int out, int in) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, out, in);
        SplitMix random = new SplitMix(8);
        for (int term = 0; term < 60; term++) {
            double size = 2.0 / (1 + term);
            double[] left = new double[out];
            double[] right = new double[in];
            for (int o = 0; o < out; o++) {
                left[o] = random.nextNormal() * size / Math.sqrt(out);
            }
            for (int i = 0; i < in; i++) {
                right[i] = random.nextNormal() / Math.sqrt(in);
            }
            for (int o = 0; o < out; o++) {
                for (int i = 0; i < in; i++) {
                    long at = (long) o * in + i;
                    tensor.setFloat(at, (float) (tensor.getFloat(at) + left[o] * right[i]));
                }
            }
        }
        return tensor;
    }

    @Test
    void theKrylovMethodFindsWhatTheExactDecompositionFinds() {
        int out = 300;
        int in = 220;
        int rank = 6;
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor tensor = weight(arena, out, in);
            double[] dense = new double[out * in];
            for (int i = 0; i < dense.length; i++) {
                dense[i] = tensor.getFloat(i);
            }
            TopSvd exact = TopSvd.exact(dense, out, in, rank);
            TopSvd found = TopSvd.of(compute, new DenseWeight(tensor), rank, 1);
            for (int k = 0; k < rank; k++) {
                assertThat(found.s()[k]).isCloseTo(exact.s()[k], within(2e-6 * exact.s()[0]));
                double cosine = 0;
                for (int i = 0; i < in; i++) {
                    cosine += found.v()[k * in + i] * exact.v()[k * in + i];
                }
                assertThat(cosine).isGreaterThan(1 - 1e-5);
            }
            double error = 0;
            double scale = 0;
            for (int o = 0; o < out; o++) {
                for (int i = 0; i < in; i++) {
                    double left = part(found, rank, in, o, i);
                    double right = part(exact, rank, in, o, i);
                    error = Math.max(error, Math.abs(left - right));
                    scale = Math.max(scale, Math.abs(right));
                }
            }
            assertThat(error).isLessThan(1e-5 * scale);
        }
    }

    // Random values are the hardest case: their leading singular values lie close together.
    @Test
    void convergedTriplesAreThoseOfTheExactDecompositionOnAFlatSpectrumToo() {
        int out = 260;
        int in = 200;
        int rank = 8;
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor tensor = Tensor.allocate(arena, DType.F32, out, in);
            new SplitMix(4).fillNormal(tensor.asMatrix(), 0, 0.02);
            double[] dense = new double[out * in];
            for (int i = 0; i < dense.length; i++) {
                dense[i] = tensor.getFloat(i);
            }
            TopSvd exact = TopSvd.exact(dense, out, in, rank);
            TopSvd found = TopSvd.converged(compute, new DenseWeight(tensor), rank);
            double error = 0;
            double scale = 0;
            for (int o = 0; o < out; o++) {
                for (int i = 0; i < in; i++) {
                    double expected = part(exact, rank, in, o, i);
                    error += Math.pow(part(found, rank, in, o, i) - expected, 2);
                    scale += expected * expected;
                }
            }
            assertThat(Math.sqrt(error / scale)).isLessThan(2e-4);
        }
    }

    private static double part(TopSvd svd, int rank, int in, int o, int i) {
        double sum = 0;
        for (int k = 0; k < rank; k++) {
            sum += svd.u()[o * rank + k] * svd.s()[k] * svd.v()[k * in + i];
        }
        return sum;
    }

    @Test
    void refusesARankAboveTheSmallerSide() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            DenseWeight weight = new DenseWeight(Tensor.allocate(arena, DType.F32, 4, 6));
            assertThatThrownBy(() -> TopSvd.of(compute, weight, 5, 1))
                    .hasMessage("rank: expected at most 4 for a weight (4, 6), found 5");
        }
    }
}
