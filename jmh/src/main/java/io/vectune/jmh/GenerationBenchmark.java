package io.vectune.jmh;

import io.vectune.models.bench.SmolLmShape;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// One generated token, and a prompt, at the shape of SmolLM2-135M. The score is tokens a second.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "-Xmx1g")
@Warmup(iterations = 3, time = 1, timeUnit = TimeUnit.SECONDS)
@Measurement(iterations = 5, time = 1, timeUnit = TimeUnit.SECONDS)
public class GenerationBenchmark {
    private static final int PROMPT = 512;
    private static final int KNOWN = 64;

    /// A session over a random model, with a short text in its cache.
    @State(Scope.Benchmark)
    public static class Text extends KernelState {
        @Param({"q4_1", "q4_0", "hqq4", "nf4", "f32"})
        public String format = "";

        private DecoderSession session;
        private int[] prompt;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Text() {}

        @Override
        protected void prepare() {
            DecoderModel model = SmolLmShape.random(compute, arena, format);
            prompt = new SplittableRandom(3).ints(PROMPT, 0, model.config().vocabSize()).toArray();
            session = new DecoderSession(model, Map.of(), compute, 2 * PROMPT);
            float[] together = session.append(Arrays.copyOf(prompt, KNOWN)).toArray();
            session.rewind(KNOWN - 1);
            float[] single = session.append(prompt[KNOWN - 1]).toArray();
            double largest = 0;
            double error = 0;
            for (int token = 0; token < single.length; token++) {
                largest = Math.max(largest, Math.abs(together[token]));
                error = Math.max(error, Math.abs((double) together[token] - single[token]));
            }
            if (!(error <= 1e-3 * largest)) {
                throw new IllegalStateException("logits of a prompt and of single tokens differ by " + error);
            }
        }

        @Override
        protected void release() {
            session.close();
        }
    }

    /// One token after a short text.
    @Benchmark
    public Matrix token(Text text) {
        text.session.rewind(KNOWN);
        return text.session.append(text.prompt[KNOWN]);
    }

    /// A prompt of 512 tokens.
    @Benchmark
    @OperationsPerInvocation(PROMPT)
    public Matrix prompt(Text text) {
        text.session.rewind(0);
        return text.session.append(text.prompt);
    }
}
