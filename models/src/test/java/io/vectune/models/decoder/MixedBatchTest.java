package io.vectune.models.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterMix;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.RowGroups;
import io.vectune.models.TestModels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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

    /// Sets that sit on every part of a model: norms, some tokens and whole embeddings, biases, the output head, whole
    /// layers, linear layers.
    private static Map<String, AdapterConfig> parts() {
        Map<String, Object> lora = Map.of("r", 4, "target_modules", List.of("q_proj", "down_proj"));
        Map<String, AdapterConfig> parts = new LinkedHashMap<>();
        parts.put("norms", AdapterConfig.of("ln_tuning", Map.of()));
        parts.put("tokens", AdapterConfig.of("trainable_tokens", Map.of("token_indices", List.of(5, 9, 33, 13))));
        parts.put("saved", config(lora, Map.of("modules_to_save", List.of("norm", "embed_tokens", "v_proj"))));
        parts.put("tokens beside", config(lora, Map.of("trainable_token_indices", List.of(100, 4))));
        parts.put("biases", config(lora, Map.of("bias", "all")));
        parts.put("saved head", config(lora, Map.of("modules_to_save", List.of("lm_head"))));
        parts.put("head", config(lora, Map.of("target_modules", List.of("lm_head", "k_proj"))));
        return parts;
    }

    private static AdapterConfig config(Map<String, Object> fields, Map<String, Object> more) {
        Map<String, Object> all = new LinkedHashMap<>(fields);
        all.putAll(more);
        return AdapterConfig.of("lora", all);
    }

    private static List<int[]> textsOf(int count) {
        List<int[]> texts = new ArrayList<>();
        for (int text = 0; text < count; text++) {
            texts.add(new int[] {5, 4 + text, 33, 100, 13});
        }
        return texts;
    }

    private Matrix copy(Matrix matrix) {
        Matrix copy = Matrix.allocate(arena, matrix.rows(), matrix.columns());
        copy.copyFrom(matrix);
        return copy;
    }

    // The same texts, all with one adapter, give each text the bits that it has among others.
    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen2", "qwen3"})
    void everyPartServesTextsOfASession(String name) {
        DecoderModel host = TestModels.load(name, arena);
        List<String> names = List.copyOf(parts().keySet());
        List<AdapterSet> sets = new ArrayList<>();
        parts().forEach((part, config) -> sets.add(moved(AdapterSet.create(config, host.sites(), compute, 3), 3)));
        int[] adapterOfText = IntStream.rangeClosed(RowGroups.BASE, sets.size() - 1).toArray();
        List<int[]> prompts = textsOf(adapterOfText.length);
        List<int[]> next = prompts.stream().map(prompt -> new int[] {prompt[1]}).toList();
        try (DecoderBatchSession session = new DecoderBatchSession(host, sets, compute, adapterOfText, 8)) {
            List<Matrix> together = List.of(copy(session.append(prompts)), copy(session.append(next)));
            for (int text = 0; text < adapterOfText.length; text++) {
                String what = name + ", " + (text == 0 ? "base" : names.get(text - 1));
                List<AdapterSet> own = text == 0 ? List.of() : sets.subList(text - 1, text);
                int[] same = new int[adapterOfText.length];
                Arrays.fill(same, own.isEmpty() ? RowGroups.BASE : 0);
                Map<String, Adapter> adapters = own.isEmpty() ? Map.of() : own.getFirst().adapters();
                try (DecoderBatchSession uniform = new DecoderBatchSession(host, own, compute, same, 8);
                        DecoderSession alone = new DecoderSession(host, adapters, compute, 8)) {
                    for (int stage = 0; stage < 2; stage++) {
                        List<int[]> tokens = stage == 0 ? prompts : next;
                        float[] found = together.get(stage).rows(text, text + 1).toArray();
                        assertThat(found)
                                .as(what)
                                .containsExactly(uniform.append(tokens).rows(text, text + 1).toArray());
                        float[] expected = alone.append(tokens.get(text)).toArray();
                        assertThat(TestModels.relativeError(found, expected)).as(what).isLessThanOrEqualTo(RTOL);
                    }
                }
            }
        }
        sets.forEach(AdapterSet::close);
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen2", "qwen3"})
    void everyPartIsTrainedByItsOwnRows(String name) {
        DecoderModel host = TestModels.load(name, arena);
        List<AdapterSet> sets = new ArrayList<>();
        parts().forEach((part, config) -> sets.add(moved(AdapterSet.create(config, host.sites(), compute, 3), 3)));
        List<int[]> texts = textsOf(sets.size() + 1);
        SequenceBatch batch = SequenceBatch.of(texts, texts).withAdapters(IntStream.range(-1, sets.size()).toArray());
        PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
        AdapterSet mixed = AdapterSet.mixed(sets);
        try (DecoderPass pass = DecoderPass.forTraining(host, mixed.adapters(), compute, limits, true);
                AdapterGradients gradients = new AdapterGradients(mixed.adapters())) {
            double together = pass.lossAndGradients(batch, 1, 0, gradients);
            double apart = 0;
            for (int index = 0; index <= sets.size(); index++) {
                Map<String, Adapter> own = index == 0 ? Map.of() : sets.get(index - 1).adapters();
                List<int[]> row = texts.subList(index, index + 1);
                try (DecoderPass alone = DecoderPass.forTraining(host, own, compute, limits, false);
                        AdapterGradients expected = new AdapterGradients(own)) {
                    apart += alone.lossAndGradients(SequenceBatch.of(row, row), 1, 0, expected);
                    for (String module : own.keySet()) {
                        AdapterMix mix = (AdapterMix) Objects.requireNonNull(mixed.adapter(module));
                        List<Matrix> found = mix.gradientsOf(gradients.of(module), index - 1);
                        assertThat(found).hasSameSizeAs(expected.of(module));
                        for (int at = 0; at < found.size(); at++) {
                            float[] values = expected.of(module).get(at).toArray();
                            assertThat(TestModels.relativeError(found.get(at).toArray(), values))
                                    .as(name + ", " + module)
                                    .isLessThanOrEqualTo(1e-4);
                        }
                    }
                }
            }
            assertThat(Math.abs(together - apart) / apart).isLessThanOrEqualTo(RTOL);
            assertThat(pass.loss(batch)).isEqualTo(together);
        }
        sets.forEach(AdapterSet::close);
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
        return moved(AdapterSet.create(config, model.sites(), compute, seed), seed);
    }

    private AdapterSet moved(AdapterSet set, long seed) {
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
