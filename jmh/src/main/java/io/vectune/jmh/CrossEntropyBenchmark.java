package io.vectune.jmh;

import io.vectune.runtime.nn.CrossEntropy;
import io.vectune.runtime.nn.OutputHead;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// Loss and gradient of 4 x 256 labelled tokens of SmolLM2-135M, output head included; the work is that of the head's
/// two products.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class CrossEntropyBenchmark {
    private static final int TOKENS = 1024;
    private static final int HIDDEN = 576;
    private static final int VOCAB = 49_152;

    /// Hidden states, labels and an f32 head.
    @State(Scope.Benchmark)
    public static class Loss extends KernelState {
        private OutputHead head;
        private Matrix hidden;
        private Matrix gradHidden;
        private int[] labels;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Loss() {}

        @Override
        protected void prepare() {
            hidden = random(TOKENS, HIDDEN, 1);
            gradHidden = Matrix.allocate(arena, TOKENS, HIDDEN);
            labels = new SplittableRandom(2).ints(TOKENS, 0, VOCAB).toArray();
            Matrix weight = random(VOCAB, HIDDEN, 3);
            head = OutputHead.of(new DenseWeight(Tensor.of(DType.F32, new long[] {VOCAB, HIDDEN}, weight.segment())));
            double found = CrossEntropy.loss(compute, head, hidden.rows(0, 1), labels);
            double sum = 0;
            double labelLogit = 0;
            for (int token = 0; token < VOCAB; token++) {
                double logit = 0;
                for (int i = 0; i < HIDDEN; i++) {
                    logit += (double) hidden.get(0, i) * weight.get(token, i);
                }
                sum += Math.exp(logit);
                labelLogit = token == labels[0] ? logit : labelLogit;
            }
            requireClose("loss", Math.log(sum) - labelLogit, found, HIDDEN);
        }
    }

    @Benchmark
    public double lossAndGradient(Loss loss, Rates rates) {
        double sum =
                CrossEntropy.lossAndGradient(
                        loss.compute, loss.head, loss.hidden, loss.labels, 1.0 / TOKENS, loss.gradHidden);
        rates.add(loss, 4.0 * TOKENS * HIDDEN * VOCAB, 0);
        return sum;
    }

    @Benchmark
    public double loss(Loss loss, Rates rates) {
        double sum = CrossEntropy.loss(loss.compute, loss.head, loss.hidden, loss.labels);
        rates.add(loss, 2.0 * TOKENS * HIDDEN * VOCAB, 0);
        return sum;
    }
}
