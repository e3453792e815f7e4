package io.vectune.models.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.RowGroups;
import io.vectune.models.TestModels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// Rows and texts with different adapters in one batch, against each alone.
class MixedBatchTest {
    private static final List<String> TARGETS = List.of("q_proj", "o_proj", "up_proj", "down_proj");
    private static final double RTOL = 1e-5;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final DecoderModel model = TestModels.load("llama", arena);
    private final AdapterSet lora = adapters("lora", 1);
    private final AdapterSet dora = adapters("dora", 2);
    private final List<int[]> rows =
            List.of(new int[] {5, 9, 33, 7, 21, 80}, new int[] {4, 4, 100, 12}, new int[] {200, 6, 13, 14, 15, 61, 8});

    @AfterEach
    void close() {
        lora.close();
        dora.close();
        compute.close();
        team.close();
        arena.close();
    }

    @Test
    void rowsOfABatchUseTheirOwnAdapters() {
        AdapterSet mixed = AdapterSet.mixed(List.of(lora, dora));
        SequenceBatch batch = SequenceBatch.of(rows, rows);
        PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
        double together;
        try (DecoderPass pass = DecoderPass.forTraining(model, mixed.adapters(), compute, limits, false);
                AdapterGradients gradients = new AdapterGradients(mixed.adapters())) {
            SequenceBatch each = batch.withAdapters(1, RowGroups.BASE, 0);
            together = pass.lossAndGradients(each, 1, 0, gradients);
            assertThat(pass.loss(each)).isEqualTo(together);
            double apart = 0;
            for (int row = 0; row < rows.size(); row++) {
                AdapterSet own = row == 0 ? dora : lora;
                SequenceBatch single = SequenceBatch.of(rows.subList(row, row + 1), rows.subList(row, row + 1));
                Map<String, Adapter> adapters = row == 1 ? Map.of() : own.adapters();
                try (DecoderPass alone = DecoderPass.forTraining(model, adapters, compute, limits, false);
                        AdapterGradients ownGradients = new AdapterGradients(adapters)) {
                    apart += alone.lossAndGradients(single, 1, 0, ownGradients);
                    if (row != 1) {
                        String module = "model.layers.0.self_attn.q_proj";
                        int first = row == 0 ? 2 : 0;
                        for (int index = 0; index < ownGradients.of(module).size(); index++) {
                            float[] found = gradients.of(module).get(first + index).toArray();
                            assertThat(TestModels.relativeError(found, ownGradients.of(module).get(index).toArray()))
                                    .isLessThanOrEqualTo(1e-4);
                        }
                    }
                }
            }
            assertThat(Math.abs(together - apart) / apart).isLessThanOrEqualTo(RTOL);
            assertThatThrownBy(() -> batch.withAdapters(0, 1)).hasMessageContaining("each of 3 rows");
        }
    }

    @Test
    void textsOfASessionUseTheirOwnAdapters() {
        int[] adapterOfText = {1, RowGroups.BASE, 0};
        try (DecoderBatchSession session =
                new DecoderBatchSession(model, List.of(lora, dora), compute, adapterOfText, 16)) {
            Matrix logits = session.append(rows);
            check(logits, 0);
            session.append(List.of(new int[] {3}, new int[0], new int[] {8}));
            assertThat(session.position(1)).isEqualTo(rows.get(1).length);
            logits = session.append(List.of(new int[] {11}, new int[] {2, 17}, new int[0]));
            check(logits, 1);
        }
    }

    // The output head too; each text steered by itself.
    @Test
    void everyKindServesTextsOfASession() {
        List<String> kinds =
                AdapterKinds.ALL.stream()
                        .map(AdapterKind::name)
                        .filter(kind -> !List.of("eva", "loftq", "ln_tuning", "trainable_tokens").contains(kind))
                        .toList();
        List<AdapterSet> sets = new ArrayList<>();
        List<int[]> texts = new ArrayList<>();
        int[] adapterOfText = new int[kinds.size() + 1];
        for (int index = 0; index < kinds.size(); index++) {
            sets.add(adapters(kinds.get(index), index, List.of("q_proj", "down_proj", "lm_head")));
            adapterOfText[index] = index;
            texts.add(new int[] {5 + index, 9, 33 - index});
        }
        adapterOfText[kinds.size()] = RowGroups.BASE;
        texts.add(new int[] {4, 100});
        try (DecoderBatchSession session = new DecoderBatchSession(model, sets, compute, adapterOfText, 8)) {
            for (int text = 0; text < texts.size(); text++) {
                session.steer(text, text % 2 == 0 ? -0.5f : 1);
            }
            Matrix logits = session.append(texts);
            for (int text = 0; text < texts.size(); text++) {
                Map<String, Adapter> own = text < sets.size() ? sets.get(text).adapters() : Map.of();
                try (DecoderSession alone = new DecoderSession(model, own, compute, 8)) {
                    alone.steer(text % 2 == 0 ? -0.5f : 1);
                    float[] expected = alone.append(texts.get(text)).toArray();
                    assertThat(TestModels.relativeError(logits.rows(text, text + 1).toArray(), expected))
                            .as(text < sets.size() ? kinds.get(text) : "base")
                            .isLessThanOrEqualTo(RTOL);
                }
            }
            assertThatThrownBy(() -> session.steer(texts.size(), 1)).hasMessageContaining("text: expected 0 to");
            assertThatThrownBy(() -> session.steer(0, Float.NaN)).hasMessageContaining("finite coefficient");
        }
        sets.forEach(AdapterSet::close);
    }

    @Test
    void normsAndEmbeddingsBelongToTheWholeBatch() {
        try (AdapterSet norms = AdapterSet.create(AdapterConfig.of("ln_tuning", Map.of()), model.sites(), compute, 1)) {
            assertThatThrownBy(() -> AdapterSet.mixed(List.of(lora, norms)).close())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("model.layers.0.input_layernorm: ")
                    .hasMessageContaining("belongs to the whole batch");
        }
    }

    private void check(Matrix logits, int stage) {
        int[][] later = {{3, 11}, {2, 17}, {8}};
        for (int text = 0; text < rows.size(); text++) {
            AdapterSet own = text == 0 ? dora : lora;
            try (DecoderSession alone = new DecoderSession(model, text == 1 ? Map.of() : own.adapters(), compute, 16)) {
                Matrix expected = alone.append(rows.get(text));
                if (stage == 1) {
                    expected = alone.append(later[text]);
                }
                assertThat(TestModels.relativeError(logits.rows(text, text + 1).toArray(), expected.toArray()))
                        .as("text %d", text)
                        .isLessThanOrEqualTo(RTOL);
            }
        }
    }

    private AdapterSet adapters(String kind, long seed) {
        return adapters(kind, seed, TARGETS);
    }

    private AdapterSet adapters(String kind, long seed, List<String> targets) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("target_modules", targets);
        switch (kind) {
            case "ia3" -> fields.put("feedforward_modules", List.of("down_proj"));
            case "road" -> fields.put("group_size", 8);
            case "oft" -> fields.put("oft_block_size", 8);
            case "adalora" -> fields.putAll(Map.of("init_r", 4, "total_step", 10));
            case "delora" -> fields.putAll(Map.of("r", 4, "delora_lambda", 1));
            default -> fields.put("r", 4);
        }
        AdapterConfig config = AdapterConfig.of(kind, fields);
        AdapterSet set = AdapterSet.create(config, model.sites(), compute, seed);
        SplittableRandom random = new SplittableRandom(seed);
        for (AdapterSet.Entry entry : set.parameters()) {
            Matrix values = entry.parameter().values();
            double[] row = random.doubles(values.columns(), -0.1, 0.1).toArray();
            for (int r = 0; entry.parameter().trainable() && r < values.rows(); r++) {
                for (int c = 0; c < values.columns(); c++) {
                    values.set(r, c, (float) (values.get(r, c) + row[c] * (r % 3 - 1)));
                }
            }
        }
        set.refresh(compute);
        return set;
    }
}
