package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Configurations that do not fit a layer of 12 inputs and 16 outputs, or contradict themselves: refused with the name
/// of the field, what was expected and what was found.
class AdapterRefusalTest {
    record Case(String kind, Map<String, Object> options, List<String> parts) {
        @Override
        public String toString() {
            return kind + options;
        }
    }

    static Stream<Case> cases() {
        return Stream.of(
                new Case("hra", Map.of("r", 7), List.of("even rank", "r=7", "use 6 or 8")),
                new Case("hra", Map.of("r", 14), List.of("q_proj", "r: expected at most inFeatures=12", "found 14")),
                new Case("hra", Map.of("r", 4, "apply_GS", true), List.of("apply_GS", "init_weights=false")),
                new Case("pissa", Map.of("r", 13), List.of("q_proj", "r: expected at most 12", "found 13")),
                new Case("oft", Map.of("oft_block_size", 5), List.of("oft_block_size", "inFeatures=12", "found 5")),
                new Case("oft", Map.of("oft_block_size", 4, "r", 3), List.of("oft_block_size", "r=3", "found 4")),
                new Case("road", Map.of("group_size", 6), List.of("group_size", "outFeatures=16", "found 6")),
                new Case("road", Map.of("group_size", 7), List.of("group_size", "even", "found 7")),
                new Case("gralora", Map.of("r", 10, "gralora_k", 5), List.of("gralora_k", "inFeatures=12", "found 5")),
                new Case("gralora", Map.of("r", 4, "gralora_k", 3), List.of("gralora_k", "r=4", "found 3")),
                new Case("antipasto", Map.of("r", 10), List.of("block_size", "r=10", "found 4")),
                new Case("antipasto", Map.of("max_rotation_angle", 4), List.of("max_rotation_angle", "pi", "found 4")),
                new Case("dora", Map.of("lora_bias", true), List.of("lora_bias", "use_dora")),
                new Case("dora", Map.of("init_lora_weights", "pissa"), List.of("init_lora_weights", "use_dora")),
                new Case(
                        "lora",
                        Map.of("lora_bias", true, "init_lora_weights", "gaussian"),
                        List.of("lora_bias", "gaussian")),
                new Case("lora", Map.of("r", 0), List.of("r: expected a rank of at least 1", "found 0")),
                new Case("lora", Map.of("lora_alpha", 1e300), List.of("lora_alpha", "range of f32", "1.0E300")),
                new Case("loha", Map.of("alpha", 1e300), List.of("alpha", "range of f32")),
                new Case(
                        "lora",
                        Map.of("alpha_pattern", Map.of("q_proj", 1e300)),
                        List.of("alpha_pattern[q_proj]", "positive number", "1.0E300")),
                new Case("lora", Map.of("lora_dropout", 1.5), List.of("lora_dropout", "1.5")),
                new Case("lora", Map.of("init_lora_weights", "pisa"), List.of("init_lora_weights", "found pisa")),
                new Case(
                        "ia3",
                        Map.of("target_modules", List.of("k_proj"), "feedforward_modules", List.of("down_proj")),
                        List.of("feedforward_modules", "target_modules")),
                new Case("trainable_tokens", Map.of("token_indices", List.of(3, 3)), List.of("different tokens", "3")),
                new Case("trainable_tokens", Map.of("token_indices", List.of(16)), List.of("0 to 15", "found 16")));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void namesTheFieldAndTheRemedy(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            assertThatThrownBy(() -> bench.create(each.kind, each.options))
                    .isInstanceOf(RuntimeException.class)
                    .hasMessageContainingAll(each.parts.toArray(CharSequence[]::new));
        }
    }
}
