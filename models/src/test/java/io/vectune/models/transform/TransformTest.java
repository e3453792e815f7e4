package io.vectune.models.transform;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.eval.Evaluation;
import io.vectune.models.generate.GenerationOptions;
import io.vectune.models.generate.TextGeneration;
import io.vectune.models.train.TokenRow;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class TransformTest {
    private static final int[] TEXT = {5, 17, 40, 3, 99, 250, 7, 7, 12};

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    @Test
    void mergedModelGivesTheLogitsOfModelAndAdapter() {
        DecoderModel model = TestModels.load("llama-bias", arena);
        AdapterConfig config =
                AdapterConfig.of("lora", Map.of("r", 4, "target_modules", List.of("q_proj", "down_proj", "gate_proj")));
        try (AdapterSet set = AdapterSet.create(config, model.sites(), compute, 3)) {
            SplittableRandom random = new SplittableRandom(4);
            set.parameters()
                    .forEach(entry -> {
                        Matrix values = entry.parameter().values();
                        for (int row = 0; row < values.rows(); row++) {
                            for (int column = 0; column < values.columns(); column++) {
                                values.set(row, column, (float) random.nextDouble(-0.2, 0.2));
                            }
                        }
                    });
            set.refresh(compute);
            float[] adapted = logits(model, set);
            DecoderModel merged = MergedModel.of(model, set.adapters(), compute, arena);
            assertThat(TestModels.relativeError(logits(merged, null), adapted)).isLessThanOrEqualTo(1e-5);
            assertThat(TestModels.relativeError(logits(model, null), adapted)).isGreaterThan(1e-2);
            assertThat(merged.linear("model.layers.0.mlp.up_proj"))
                    .isEqualTo(model.linear("model.layers.0.mlp.up_proj"));
        }
    }

    @Test
    void quantizedModelStaysNearAndIsSmaller() {
        DecoderModel model = TestModels.load("tiny-llama", arena);
        List<String> names = new ArrayList<>();
        DecoderModel quantized =
                QuantizedModel.of(
                        model,
                        Quantizers.of(QuantizeOptions.of("hqq").withBits("8")),
                        QuantizedModel.ALL_BUT_HEAD,
                        compute,
                        arena,
                        linear -> names.add(linear.name()));
        assertThat(names).hasSize(7 * model.config().numHiddenLayers()).doesNotContain(DecoderModel.HEAD);
        assertThat(quantized.isTied()).isTrue();
        assertThat(quantized.storageBytes()).isLessThan(model.storageBytes());
        assertThat(TestModels.relativeError(logits(quantized, null), logits(model, null))).isLessThanOrEqualTo(0.02);
    }

    @Test
    void exactRowsAreThoseThatGreedyGenerationGives() {
        DecoderModel model = TestModels.load("llama", arena);
        List<TokenRow> rows = new ArrayList<>();
        for (int start = 0; start < 4; start++) {
            int[] prompt = Arrays.copyOfRange(TEXT, start, start + 4);
            List<Integer> answer;
            try (DecoderSession session = new DecoderSession(model, Map.of(), compute, 16)) {
                answer = TextGeneration.run(session, prompt, GenerationOptions.greedy(6, Set.of()), t -> true).tokens();
            }
            int[] ids = IntStream.concat(Arrays.stream(prompt), answer.stream().mapToInt(Integer::intValue)).toArray();
            if (start == 2) {
                ids[8] = (ids[8] + 1) % model.config().vocabSize();
            }
            int[] labels = ids.clone();
            Arrays.fill(labels, 0, prompt.length, -100);
            rows.add(new TokenRow(ids, labels));
        }
        List<Integer> progress = new ArrayList<>();
        Evaluation evaluation = Evaluation.of(model, Map.of(), compute, rows, progress::add);
        assertThat(evaluation.exactRows()).isEqualTo(3);
        assertThat(evaluation.rows()).isEqualTo(4);
        assertThat(evaluation.tokens()).isEqualTo(24);
        assertThat(evaluation.exactMatch()).isEqualTo(0.75);
        assertThat(progress).containsExactly(4);
    }

    private float[] logits(DecoderModel model, @Nullable AdapterSet set) {
        Matrix logits = Matrix.allocate(arena, TEXT.length, model.config().vocabSize());
        try (DecoderSession session =
                new DecoderSession(model, set == null ? Map.of() : set.adapters(), compute, TEXT.length)) {
            session.appendAll(TEXT, logits);
        }
        return logits.toArray();
    }
}
