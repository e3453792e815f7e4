package io.vectune.jmh;

import io.vectune.runtime.nn.Attention;
import io.vectune.runtime.nn.AttentionShape;
import io.vectune.runtime.tensor.Matrix;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// Causal attention in training, forward and backward, and one new token over a cache. Only the products of the causal
/// triangle count as work: 2 in forward, 5 in backward.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class AttentionBenchmark {
    /// Heads of SmolLM2-135M (9/3, 64), Llama 3.2 1B (32/8, 64) and Qwen3-0.6B (16/8, 128), on a batch of sequences.
    @State(Scope.Benchmark)
    public static class Training extends KernelState {
        @Param({"9/3/64", "32/8/64", "16/8/128"})
        public String heads = "";

        @Param({"4x256", "1x2048"})
        public String batch = "";

        private AttentionShape shape;
        private int sequences;
        private int length;
        private Matrix q;
        private Matrix k;
        private Matrix v;
        private Matrix out;
        private Matrix logSumExp;
        private Matrix gradOut;
        private Matrix gradQ;
        private Matrix gradK;
        private Matrix gradV;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Training() {}

        @Override
        protected void prepare() {
            shape = shape(heads);
            String[] sizes = batch.split("x", -1);
            sequences = Integer.parseInt(sizes[0]);
            length = Integer.parseInt(sizes[1]);
            int tokens = sequences * length;
            q = random(tokens, shape.queryColumns(), 1);
            k = random(tokens, shape.keyValueColumns(), 2);
            v = random(tokens, shape.keyValueColumns(), 3);
            gradOut = random(tokens, shape.queryColumns(), 4);
            out = Matrix.allocate(arena, tokens, shape.queryColumns());
            logSumExp = Matrix.allocate(arena, tokens, shape.heads());
            gradQ = Matrix.allocate(arena, tokens, shape.queryColumns());
            gradK = Matrix.allocate(arena, tokens, shape.keyValueColumns());
            gradV = Matrix.allocate(arena, tokens, shape.keyValueColumns());
            forward();
            backward();
            int last = tokens - 1;
            requireRow(shape, q, last, k, v, tokens - length, length, out, last);
            // The probabilities of a row sum to one, so gradV sums to gradOut over tokens and the heads of a group.
            double expected = 0;
            double found = 0;
            for (int token = 0; token < tokens; token++) {
                for (int head = 0; head < shape.group(); head++) {
                    expected += gradOut.get(token, head * shape.headDim());
                }
                found += gradV.get(token, 0);
            }
            requireClose("sum of gradV", expected, found, tokens);
        }

        private void forward() {
            Attention.forward(compute, shape, q, k, v, out, logSumExp, sequences, length);
        }

        private void backward() {
            Attention.backward(
                    compute, shape, q, k, v, out, logSumExp, gradOut, gradQ, gradK, gradV, sequences, length);
        }

        private double product() {
            return (double) shape.heads() * shape.headDim() * sequences * length * (length + 1);
        }
    }

    /// One new token over the keys and values of `context` tokens.
    @State(Scope.Benchmark)
    public static class Cached extends KernelState {
        @Param({"9/3/64", "32/8/64"})
        public String heads = "";

        @Param({"128", "512", "4096"})
        public int context;

        private AttentionShape shape;
        private Matrix q;
        private Matrix keys;
        private Matrix values;
        private Matrix out;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Cached() {}

        @Override
        protected void prepare() {
            shape = shape(heads);
            q = random(1, shape.queryColumns(), 1);
            keys = random(context, shape.keyValueColumns(), 2);
            values = random(context, shape.keyValueColumns(), 3);
            out = Matrix.allocate(arena, 1, shape.queryColumns());
            step();
            requireRow(shape, q, 0, keys, values, 0, context, out, 0);
        }

        private void step() {
            Attention.forwardCached(compute, shape, q, keys, values, context - 1, out);
        }
    }

    private static AttentionShape shape(String heads) {
        String[] sizes = heads.split("/", -1);
        return new AttentionShape(Integer.parseInt(sizes[0]), Integer.parseInt(sizes[1]), Integer.parseInt(sizes[2]));
    }

    /// Fails unless head 0 of a row of `out` is the attention over `count` keys from `first`, computed in double.
    private static void requireRow(
            AttentionShape shape, Matrix q, int row, Matrix k, Matrix v, int first, int count, Matrix out, int outRow) {
        int dim = shape.headDim();
        double[] sums = new double[dim];
        double total = 0;
        for (int j = first; j < first + count; j++) {
            double score = 0;
            for (int d = 0; d < dim; d++) {
                score += (double) q.get(row, d) * k.get(j, d);
            }
            double weight = Math.exp(score / Math.sqrt(dim));
            total += weight;
            for (int d = 0; d < dim; d++) {
                sums[d] += weight * v.get(j, d);
            }
        }
        for (int d = 0; d < dim; d++) {
            KernelState.requireClose("out", sums[d] / total, out.get(outRow, d), 1);
        }
    }

    @Benchmark
    public void forward(Training training, Rates rates) {
        training.forward();
        rates.add(training, 2 * training.product(), 0);
    }

    @Benchmark
    public void backward(Training training, Rates rates) {
        training.backward();
        rates.add(training, 5 * training.product(), 0);
    }

    @Benchmark
    public void cachedStep(Cached cached, Rates rates) {
        cached.step();
        double keysAndValues = 2.0 * cached.context * cached.shape.keyValueColumns();
        rates.add(cached, 2 * keysAndValues * cached.shape.group(), 4 * keysAndValues);
    }
}
