package io.vectune.models.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntPredicate;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class TextGenerationTest {
    private static final int[] PROMPT = {5, 17, 40, 3};

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

    @Test
    void endsAtAStopTokenOrWhenFullOrWhenTheListenerSaysSo() {
        List<Integer> free = run(GenerationOptions.greedy(10, Set.of()), 64, token -> true).tokens();
        assertThat(free).hasSize(10);
        int stop = free.get(4);
        int first = free.indexOf(stop);

        TextGeneration.Continuation stopped = run(GenerationOptions.greedy(10, Set.of(stop)), 64, token -> true);
        assertThat(stopped.end()).isEqualTo(TextGeneration.End.STOP_TOKEN);
        assertThat(stopped.tokens()).isEqualTo(free.subList(0, first));

        TextGeneration.Continuation full =
                run(GenerationOptions.greedy(10, Set.of()), PROMPT.length + 3, token -> true);
        assertThat(full.end()).isEqualTo(TextGeneration.End.CAPACITY);
        assertThat(full.tokens()).isEqualTo(free.subList(0, 4));

        List<Integer> heard = new ArrayList<>();
        TextGeneration.Continuation quiet =
                run(
                        GenerationOptions.greedy(10, Set.of()),
                        64,
                        token -> {
                            heard.add(token);
                            return heard.size() < 2;
                        });
        assertThat(quiet.end()).isEqualTo(TextGeneration.End.LISTENER);
        assertThat(heard).isEqualTo(free.subList(0, 2));
    }

    @Test
    void samplesTheSameTokensFromTheSameSeed() {
        GenerationOptions options = new GenerationOptions(20, 1.5f, 40, 0.95f, 0.01f, 1.1f, 7, Set.of());
        GenerationOptions other = new GenerationOptions(20, 1.5f, 40, 0.95f, 0.01f, 1.1f, 8, Set.of());
        List<Integer> tokens = run(options, 64, token -> true).tokens();
        assertThat(run(options, 64, token -> true).tokens()).isEqualTo(tokens);
        assertThat(run(other, 64, token -> true).tokens()).isNotEqualTo(tokens);
    }

    @Test
    void keepsWhatTopKTopPAndMinPLeave() {
        // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 in another order.
        Matrix logits = logits(Math.log(0.0625), Math.log(0.5), Math.log(0.125), Math.log(0.25), Math.log(0.0625));
        assertThat(drawn(logits, 0, 1, 0)).containsExactlyInAnyOrder(0, 1, 2, 3, 4);
        assertThat(drawn(logits, 2, 1, 0)).containsExactlyInAnyOrder(1, 3);
        assertThat(drawn(logits, 0, 0.7f, 0)).containsExactlyInAnyOrder(1, 3);
        assertThat(drawn(logits, 0, 0.8f, 0)).containsExactlyInAnyOrder(1, 3, 2);
        assertThat(drawn(logits, 0, 1, 0.2f)).containsExactlyInAnyOrder(1, 3, 2);
        assertThat(drawn(logits, 0, 0.01f, 0)).containsExactly(1);
        assertThat(drawn(logits, 3, 0.99f, 0.4f)).containsExactlyInAnyOrder(1, 3);
    }

    @Test
    void drawsWithTheProbabilitiesOfTheTemperature() {
        Matrix logits = logits(0, Math.log(4));
        TokenSampler sampler = new TokenSampler(new GenerationOptions(1, 2, 0, 1, 0, 1, 3, Set.of()));
        int second = 0;
        for (int draw = 0; draw < 30_000; draw++) {
            second += sampler.next(logits);
        }
        // At temperature 2 the odds 4 become 2; five standard deviations of 30000 draws are 0.0136.
        assertThat(Math.abs(second / 30_000.0 - 2.0 / 3)).isLessThanOrEqualTo(0.0136);
    }

    @Test
    void penalizesTokensOfTheText() {
        TokenSampler sampler = new TokenSampler(new GenerationOptions(1, 0, 0, 1, 0, 2, 0, Set.of()));
        assertThat(sampler.next(logits(1, 1.5, -1))).isEqualTo(1);
        sampler.see(1);
        assertThat(sampler.next(logits(1, 1.5, -1))).isZero();
        sampler.see(0);
        assertThat(sampler.next(logits(-1, -1.5, -1.9))).isEqualTo(2);
    }

    @Test
    void refusesLogitsThatAreNotFinite() {
        TokenSampler sampler = new TokenSampler(new GenerationOptions(1, 0, 0, 1, 0, 1, 0, Set.of()));
        for (float broken : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
            Matrix row = logits(1, broken, -2);
            assertThatThrownBy(() -> sampler.next(row))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("not finite");
        }
    }

    @Test
    void refusesOptionsOutsideTheirRange() {
        assertThatThrownBy(() -> new GenerationOptions(0, 1, 0, 1, 0, 1, 0, Set.of()))
                .hasMessageContaining("max tokens");
        assertThatThrownBy(() -> new GenerationOptions(1, -1, 0, 1, 0, 1, 0, Set.of()))
                .hasMessageContaining("temperature");
        assertThatThrownBy(() -> new GenerationOptions(1, 1, 0, 1.5f, 0, 1, 0, Set.of())).hasMessageContaining("top-p");
        assertThatThrownBy(() -> new GenerationOptions(1, 1, 0, 1, 2, 1, 0, Set.of())).hasMessageContaining("min-p");
        try (DecoderSession session = new DecoderSession(model, Map.of(), compute, 4)) {
            assertThatThrownBy(() -> session.append(1, 2, 3, 4, 5)).hasMessageContaining("room left");
            assertThatThrownBy(session::append).hasMessageContaining("expected 1 to 4");
        }
    }

    private static Set<Integer> drawn(Matrix logits, int topK, float topP, float minP) {
        TokenSampler sampler = new TokenSampler(new GenerationOptions(1, 1, topK, topP, minP, 1, 5, Set.of()));
        Set<Integer> tokens = new HashSet<>();
        for (int draw = 0; draw < 2000; draw++) {
            tokens.add(sampler.next(logits));
        }
        return tokens;
    }

    private Matrix logits(double... values) {
        Matrix row = Matrix.allocate(arena, 1, values.length);
        for (int i = 0; i < values.length; i++) {
            row.set(0, i, (float) values[i]);
        }
        return row;
    }

    private TextGeneration.Continuation run(GenerationOptions options, int capacity, IntPredicate listener) {
        try (DecoderSession session = new DecoderSession(model, Map.of(), compute, capacity)) {
            return TextGeneration.run(session, PROMPT, options, listener);
        }
    }
}
