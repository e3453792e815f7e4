package io.vectune.models.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.calibration.Eva;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// Adapters that start from calibration rows that went through the model.
class CalibratedStartTest {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final DecoderModel model = TestModels.load("llama", arena);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private List<TokenRow> rows(int count, int from, int seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<TokenRow> rows = new ArrayList<>();
        int half = model.config().vocabSize() / 2;
        for (int row = 0; row < count; row++) {
            rows.add(TokenRow.ofText(random.ints(24, from, from + half).toArray()));
        }
        return rows;
    }

    private static CalibratedStart from(List<TokenRow> rows, List<TokenRow> opposites) {
        return new CalibratedStart(rows, opposites, Map.of(), Eva.Options.DEFAULT, 64);
    }

    private static AdapterConfig config(String kind, Map<String, Object> more) {
        return AdapterConfig.of(kind, more);
    }

    private static float[] parameter(AdapterSet set, String module, String name) {
        Adapter adapter = Objects.requireNonNull(set.adapter(module));
        for (AdapterParameter parameter : adapter.parameters()) {
            if (parameter.name().equals(name)) {
                return parameter.values().toArray();
            }
        }
        throw new AssertionError(name);
    }

    @Test
    void evaSharesOutItsBudgetAndStartsAtTheIdentity() {
        AdapterConfig config =
                config("eva", Map.of("r", 4, "target_modules", List.of("q_proj", "v_proj", "down_proj")));
        try (AdapterSet set = from(rows(12, 0, 1), List.of()).create(config, model, compute, 3, done -> {})) {
            int ranks = 0;
            for (Adapter adapter : set.adapters().values()) {
                Matrix a = adapter.parameters().getFirst().values();
                ranks += a.rows();
                assertThat(orthonormalError(a)).isLessThan(1e-4);
                assertThat(adapter.parameters().get(1).values().toArray()).containsOnly(0f);
            }
            assertThat(ranks).isEqualTo(4 * 3 * model.config().numHiddenLayers());
            assertThat(set.config().fields()).containsEntry("init_lora_weights", "eva");
        }
    }

    private static double orthonormalError(Matrix a) {
        double worst = 0;
        for (int k = 0; k < a.rows(); k++) {
            for (int l = 0; l <= k; l++) {
                double dot = 0;
                for (int i = 0; i < a.columns(); i++) {
                    dot += (double) a.get(k, i) * a.get(l, i);
                }
                worst = Math.max(worst, Math.abs(dot - (k == l ? 1 : 0)));
            }
        }
        return worst;
    }

    @Test
    void evaCountsLabelledTokensOnly() {
        List<TokenRow> rows = rows(12, 0, 1);
        List<TokenRow> halves = new ArrayList<>();
        for (TokenRow row : rows) {
            int[] labels = row.labels().clone();
            java.util.Arrays.fill(labels, 0, 12, -100);
            halves.add(new TokenRow(row.ids(), labels));
        }
        AdapterConfig config = config("eva", Map.of("r", 2, "target_modules", List.of("down_proj")));
        CalibratedStart few =
                new CalibratedStart(halves.subList(0, 1), List.of(), Map.of(), new Eva.Options(8, true), 8);
        assertThatThrownBy(() -> few.create(config, model, compute, 3, done -> {}))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("down_proj")
                .hasMessageContaining("needs at least 16 calibration tokens")
                .hasMessageContaining("found 12");
    }

    @Test
    void evaWithoutDataAndDataWithoutUseAreRefused() {
        assertThatThrownBy(
                        () -> CalibratedStart.NONE.create(config("eva", Map.of("r", 2)), model, compute, 1, done -> {}))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("expected calibration data");
        assertThatThrownBy(() ->
                        from(rows(2, 0, 1), List.of())
                                .create(config("pissa", Map.of("r", 2)), model, compute, 1, done -> {}))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("pissa starts without data");
        AdapterConfig head = config("eva", Map.of("r", 2, "target_modules", List.of("lm_head")));
        assertThatThrownBy(() -> from(rows(2, 0, 1), List.of()).create(head, model, compute, 1, done -> {}))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("lm_head");
    }

    @Test
    void antiPastoTakesOtherDirectionsForDataAndForAContrast() {
        AdapterConfig config = config("antipasto", Map.of("r", 4, "target_modules", List.of("down_proj")));
        String module = "model.layers.1.mlp.down_proj";
        List<TokenRow> low = rows(12, 0, 1);
        List<TokenRow> high = rows(12, model.config().vocabSize() / 2, 2);
        try (AdapterSet plain = CalibratedStart.NONE.create(config, model, compute, 3, done -> {});
                AdapterSet data = from(low, List.of()).create(config, model, compute, 3, done -> {});
                AdapterSet contrast = from(low, high).create(config, model, compute, 3, done -> {})) {
            float[] largest = parameter(plain, module, "s");
            float[] used = parameter(data, module, "s");
            float[] opposed = parameter(contrast, module, "s");
            assertThat(largest).hasSize(4).isSortedAccordingTo((a, b) -> Float.compare(b, a));
            assertThat(used).hasSize(4).isSortedAccordingTo((a, b) -> Float.compare(b, a));
            assertThat(opposed).isNotEqualTo(used);
        }
    }
}
