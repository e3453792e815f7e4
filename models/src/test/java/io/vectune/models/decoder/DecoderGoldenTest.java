package io.vectune.models.decoder;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Every architecture and configuration style against what transformers computes in f32.
class DecoderGoldenTest {
    private static final double RTOL = 1e-4;

    @ParameterizedTest
    @ValueSource(
            strings = {
                "tiny-llama",
                "llama",
                "llama-rope-llama3",
                "llama-rope-llama3-v5",
                "llama-rope-linear",
                "llama-untied",
                "llama-bias",
                "qwen2",
                "qwen3"
            })
    void agreesWithTransformers(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            DecoderModel model = TestModels.load(name, arena);
            TensorSource golden = TestModels.golden("models/goldens/" + name + ".safetensors", arena);
            int[] ids = TestModels.ids(golden, "input_ids");
            float[] expected = TestModels.floats(golden, "logits");

            Matrix logits = Matrix.allocate(arena, ids.length, model.config().vocabSize());
            try (DecoderSession session = new DecoderSession(model, Map.of(), compute, ids.length)) {
                session.appendAll(ids, logits);
                assertThat(TestModels.relativeError(logits.toArray(), expected))
                        .as("prefill")
                        .isLessThanOrEqualTo(RTOL);
                session.rewind(0);
                for (int t = 0; t < ids.length; t++) {
                    logits.rows(t, t + 1).copyFrom(session.append(ids[t]));
                }
                assertThat(TestModels.relativeError(logits.toArray(), expected)).as("steps").isLessThanOrEqualTo(RTOL);
            }

            int[] prompt = TestModels.ids(golden, "prompt_ids");
            int[] greedy = TestModels.ids(golden, "greedy_ids");
            int[] found = new int[greedy.length];
            try (DecoderSession session = new DecoderSession(model, Map.of(), compute, prompt.length + greedy.length)) {
                Matrix last = session.append(prompt);
                for (int i = 0; i < greedy.length; i++) {
                    found[i] = TestModels.argmax(last);
                    last = session.append(found[i]);
                }
            }
            assertThat(found).isEqualTo(greedy);

            SequenceBatch batch = TestModels.batch(golden, 0, 3);
            PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
            try (DecoderPass pass = DecoderPass.forEvaluation(model, Map.of(), compute, limits)) {
                double loss = pass.loss(batch) / batch.labelledTokens();
                double reference = golden.tensor("batch_loss").getFloat(0);
                assertThat(Math.abs(loss - reference) / reference).as("loss").isLessThanOrEqualTo(RTOL);
            }
        }
    }
}
