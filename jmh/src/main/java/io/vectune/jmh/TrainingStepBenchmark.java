package io.vectune.jmh;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.bench.SmolLmShape;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.eval.Evaluation;
import io.vectune.models.train.BatchPlan;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.TokenRow;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
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

/// One tuning step at the shape of SmolLM2-135M: 4 rows of 256 tokens, rank 16 on all seven linears, AdamW. The score
/// is tokens a second. The work counted is that of the frozen products and the head, forward and backward.
///
/// A step takes seconds: each iteration is one or two steps, and the first five compile the code.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "-Xmx1g")
@Warmup(iterations = 5, time = 2, timeUnit = TimeUnit.SECONDS)
@Measurement(iterations = 5, time = 2, timeUnit = TimeUnit.SECONDS)
public class TrainingStepBenchmark {
    private static final int ROWS = 4;
    private static final int ROW_TOKENS = 256;
    private static final int STEP_TOKENS = ROWS * ROW_TOKENS;

    /// A trainer over a random model.
    @State(Scope.Benchmark)
    public static class Step extends KernelState {
        @Param({"f32", "bf16", "hqq4", "nf4"})
        public String format = "";

        @Param({"lora", "dora"})
        public String kind = "";

        private AdapterSet adapters;
        private Trainer trainer;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Step() {}

        @Override
        protected void prepare() {
            DecoderModel model = SmolLmShape.random(compute, arena, format);
            AdapterConfig config = AdapterOptions.config(kind, AdapterOptions.ALL_LINEAR);
            adapters = AdapterSet.create(config, model.sites(), compute, 1);
            SplittableRandom random = new SplittableRandom(2);
            List<TokenRow> rows = new ArrayList<>();
            for (int row = 0; row < ROWS; row++) {
                rows.add(TokenRow.ofText(random.ints(ROW_TOKENS, 0, model.config().vocabSize()).toArray()));
            }
            check(model, random.ints(8, 0, model.config().vocabSize()).toArray());
            TrainerOptions options =
                    TrainerOptions.of(1e-4, OptimizerChoice.AdamW.withDefaults(0), Integer.MAX_VALUE, 0);
            trainer = new Trainer(model, adapters, compute, new BatchPlan(rows, ROWS, 1, false, 0), options);
        }

        /// The loss of the training pass against one summed in double from the logits of a session.
        private void check(DecoderModel model, int[] ids) {
            double sum = 0;
            Matrix logits = Matrix.allocate(arena, ids.length, model.config().vocabSize());
            try (DecoderSession session = new DecoderSession(model, adapters.adapters(), compute, ids.length)) {
                session.appendAll(ids, logits);
            }
            for (int t = 0; t + 1 < ids.length; t++) {
                double largest = Double.NEGATIVE_INFINITY;
                for (int token = 0; token < logits.columns(); token++) {
                    largest = Math.max(largest, logits.get(t, token));
                }
                double exponentials = 0;
                for (int token = 0; token < logits.columns(); token++) {
                    exponentials += Math.exp(logits.get(t, token) - largest);
                }
                sum += largest + Math.log(exponentials) - logits.get(t, ids[t + 1]);
            }
            double expected = sum / (ids.length - 1);
            List<TokenRow> row = List.of(TokenRow.ofText(ids));
            double found = Evaluation.of(model, adapters.adapters(), compute, row, done -> {}).loss();
            if (!(Math.abs(found - expected) <= 1e-4 * expected)) {
                throw new IllegalStateException("loss: expected " + expected + ", found " + found);
            }
        }

        @Override
        protected void release() {
            trainer.close();
            adapters.close();
        }
    }

    /// Forward, backward, update.
    @Benchmark
    @OperationsPerInvocation(STEP_TOKENS)
    public double step(Step step, Rates rates) {
        double loss = step.trainer.step().loss();
        rates.add(step, 4.0 * STEP_TOKENS * (SmolLmShape.LINEAR_WEIGHTS + SmolLmShape.HEAD_WEIGHTS), 0);
        return loss;
    }
}
