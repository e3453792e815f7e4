package io.vectune.adapters.target;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// The same choices as peft's check_target_module_exists.
class TargetingTest {
    private static List<LayerSite> sites() {
        Weight weight = new DenseWeight(Tensor.allocate(Arena.ofAuto(), DType.F32, 2, 2));
        List<LayerSite> sites = new ArrayList<>();
        for (int layer = 0; layer < 3; layer++) {
            for (String name : List.of("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")) {
                sites.add(new LayerSite("model.layers." + layer + "." + name, weight, null));
            }
        }
        sites.add(new LayerSite("lm_head", weight, null, true));
        return sites;
    }

    private static List<String> selected(Map<String, ?> fields) {
        Targeting targeting = Targeting.read(new ConfigFields("test", fields), List.of("q_proj", "v_proj"));
        return targeting.select(sites(), true).stream().map(LayerSite::name).toList();
    }

    @Test
    void namesMatchWholePathsOrTailsAtADot() {
        assertThat(selected(Map.of("target_modules", List.of("q_proj"))))
                .hasSize(3)
                .allMatch(name -> name.endsWith(".q_proj"));
        assertThat(selected(Map.of("target_modules", List.of("layers.1.self_attn.q_proj"))))
                .containsExactly("model.layers.1.self_attn.q_proj");
        assertThat(selected(Map.of("target_modules", List.of("lm_head")))).containsExactly("lm_head");
        assertThat(selected(Map.of())).hasSize(6);
        assertThatThrownBy(() -> selected(Map.of("target_modules", List.of("proj"))))
                .isInstanceOf(VectuneException.class);
    }

    @Test
    void oneTextIsARegularExpressionOverTheWholePath() {
        assertThat(selected(Map.of("target_modules", ".*layers\\.[02]\\..*(q|v)_proj"))).hasSize(4);
        assertThat(selected(Map.of("target_modules", ".*\\.(?P<part>up)_proj"))).hasSize(3);
        assertThatThrownBy(() -> selected(Map.of("target_modules", "q_proj"))).hasMessageContaining("whole paths");
    }

    @Test
    void allLinearLeavesTheOutputHeadOut() {
        assertThat(selected(Map.of("target_modules", "all-linear"))).hasSize(9).doesNotContain("lm_head");
        assertThat(selected(Map.of("target_modules", "All-Linear", "exclude_modules", List.of("up_proj")))).hasSize(6);
        assertThat(selected(Map.of("target_modules", "all-linear", "exclude_modules", ".*layers\\.0.*"))).hasSize(6);
    }

    @Test
    void layerIndicesAreTheFirstNumberOrFollowAPattern() {
        assertThat(selected(Map.of("target_modules", List.of("q_proj"), "layers_to_transform", 1)))
                .containsExactly("model.layers.1.self_attn.q_proj");
        assertThat(
                        selected(
                                Map.of(
                                        "target_modules", List.of("q_proj"),
                                        "layers_to_transform", List.of(0, 2),
                                        "layers_pattern", "layers")))
                .hasSize(2);
        assertThatThrownBy(() -> selected(Map.of("target_modules", ".*q_proj", "layers_to_transform", 1)))
                .hasMessageContaining("layers_to_transform");
        assertThatThrownBy(() -> selected(Map.of("layers_pattern", "layers"))).hasMessageContaining("layers_pattern");
    }

    @Test
    void modulesToSaveGetNoAdapter() {
        assertThat(
                        selected(
                                Map.of(
                                        "target_modules",
                                        List.of("q_proj", "lm_head"),
                                        "modules_to_save",
                                        List.of("lm_head"))))
                .doesNotContain("lm_head");
    }

    @Test
    void unknownNamesOfferNearMatches() {
        assertThatThrownBy(() -> selected(Map.of("target_modules", List.of("q_proj", "v_prj"))))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("v_prj")
                .hasMessageContaining("near matches: v_proj");
    }
}
