package io.vectune.runtime;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class NearMatchesTest {
    private static final List<String> NAMES = List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "lm_head");

    @Test
    void offersNamesThatFewEditsAway() {
        assertThat(NearMatches.of("q_prj", NAMES)).startsWith("q_proj").hasSizeLessThanOrEqualTo(3);
        assertThat(NearMatches.of("gate_porj", NAMES)).containsExactly("gate_proj");
    }

    @Test
    void offersNamesWithAnotherPrefix() {
        assertThat(NearMatches.of("model.lm_head", NAMES)).containsExactly("lm_head");
        assertThat(NearMatches.of("head", NAMES)).containsExactly("lm_head");
    }

    @Test
    void offersNothingForStrangers() {
        assertThat(NearMatches.of("transformer.wte", NAMES)).isEmpty();
        assertThat(NearMatches.hint("transformer.wte", NAMES)).isEmpty();
        assertThat(NearMatches.hint("lm_haed", NAMES)).isEqualTo("; near matches: lm_head");
    }
}
