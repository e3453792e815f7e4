package io.vectune.models.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.RowGroups;
import io.vectune.models.TestModels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// What sessions and passes refuse, and that they are as before then: same text, same memory.
class RefusalTest {
    private static final int BAD = 99_999;

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

    private void assertEmptyWorkspace() {
        assertThat(compute.workspace().mark()).isZero();
    }

    @Test
    void aSessionGoesOnAfterABadToken() {
        int[] text = {1, 2, 3, 4};
        try (DecoderSession session = new DecoderSession(model, Map.of(), compute, 1024);
                DecoderSession fresh = new DecoderSession(model, Map.of(), compute, 1024)) {
            session.append(1, 2);
            int[] longText = new int[600];
            longText[599] = BAD;
            for (int round = 0; round < 3; round++) {
                assertThatThrownBy(() -> session.append(3, BAD))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("tokens[1]: expected a token from 0 to")
                        .hasMessageContaining("99999");
                assertThatThrownBy(() -> session.append(longText)).hasMessageContaining("tokens[599]");
                assertThatThrownBy(() -> session.append(-1)).hasMessageContaining("tokens[0]");
            }
            assertThat(session.position()).isEqualTo(2);
            assertEmptyWorkspace();
            session.append(3);
            float[] after = session.append(4).toArray();
            fresh.append(1, 2);
            fresh.append(3);
            assertThat(after).isEqualTo(fresh.append(text[3]).toArray());
        }
    }

    @Test
    void aBatchOfTextsGoesOnAfterABadToken() {
        int[] base = {RowGroups.BASE, RowGroups.BASE};
        try (DecoderBatchSession session = new DecoderBatchSession(model, List.of(), compute, base, 16)) {
            session.append(List.of(new int[] {1, 2}, new int[] {3}));
            assertThatThrownBy(() -> session.append(List.of(new int[] {5}, new int[] {BAD})))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("text 1[0]: expected a token from 0 to");
            assertThat(session.position(0)).isEqualTo(2);
            assertThat(session.position(1)).isOne();
            assertEmptyWorkspace();
        }
    }

    @Test
    void aPassKeepsNothingOfABadBatch() {
        List<int[]> good = List.of(new int[] {1, 2, 3});
        SequenceBatch badToken = SequenceBatch.of(List.of(new int[] {1, 2, BAD}), good);
        SequenceBatch badLabel = SequenceBatch.of(good, List.of(new int[] {1, 2, BAD}));
        AdapterConfig config = AdapterConfig.of("lora", Map.of("r", 2, "target_modules", List.of("q_proj")));
        PassLimits limits = new PassLimits(8, 8);
        try (AdapterSet set = AdapterSet.create(config, model.sites(), compute, 0);
                DecoderPass pass = DecoderPass.forTraining(model, set.adapters(), compute, limits, false);
                AdapterGradients gradients = new AdapterGradients(set.adapters())) {
            assertThat(compute.workspace().mark()).isZero();
            for (SequenceBatch bad : List.of(badToken, badLabel)) {
                assertThatThrownBy(() -> pass.loss(bad)).isInstanceOf(IllegalArgumentException.class);
                assertThatThrownBy(() -> pass.score(bad)).isInstanceOf(IllegalArgumentException.class);
                assertThatThrownBy(() -> pass.lossAndGradients(bad, 1, 0, gradients))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("99999");
            }
            assertThatThrownBy(() -> pass.observe(badToken)).hasMessageContaining("batch[2]: expected a token");
            assertEmptyWorkspace();
        }
    }

    @Test
    void aPassForEvaluationHasNoGradients() {
        SequenceBatch batch = SequenceBatch.of(List.of(new int[] {1, 2, 3}), List.of(new int[] {1, 2, 3}));
        try (DecoderPass pass = DecoderPass.forEvaluation(model, Map.of(), compute, new PassLimits(8, 8));
                AdapterGradients gradients = new AdapterGradients(Map.of())) {
            assertThatThrownBy(() -> pass.lossAndGradients(batch, 1, 0, gradients))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("made for evaluation");
            assertThat(pass.score(batch).lossSum()).isEqualTo(pass.loss(batch));
        }
    }

    @Test
    void countsRowsThatArePredictedExactly() {
        int[] start = {5, 17, 40};
        int next;
        try (DecoderSession session = new DecoderSession(model, Map.of(), compute, 8)) {
            next = TestModels.argmax(session.append(start));
        }
        int other = next == 0 ? 1 : 0;
        List<int[]> rows = List.of(new int[] {5, 17, 40, next}, new int[] {5, 17, 40, other}, start);
        List<int[]> labels =
                List.of(
                        new int[] {-100, -100, -100, next},
                        new int[] {-100, -100, -100, other},
                        new int[] {-100, -100, -100});
        try (DecoderPass pass = DecoderPass.forEvaluation(model, Map.of(), compute, new PassLimits(16, 8))) {
            assertThat(pass.score(SequenceBatch.of(rows, labels)).exactRows()).isOne();
        }
    }

    @Test
    void closesTwice() {
        DecoderSession session = new DecoderSession(model, Map.of(), compute, 8);
        DecoderBatchSession batch = new DecoderBatchSession(model, List.of(), compute, new int[] {RowGroups.BASE}, 8);
        DecoderPass pass = DecoderPass.forEvaluation(model, Map.of(), compute, new PassLimits(8, 8));
        for (AutoCloseable each : List.of(session, batch, pass)) {
            assertThatCode(
                            () -> {
                                each.close();
                                each.close();
                            })
                    .doesNotThrowAnyException();
        }
    }
}
