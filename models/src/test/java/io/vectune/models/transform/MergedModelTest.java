package io.vectune.models.transform;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Every kind folded into a whole model, on dense and on quantized layers: the logits of model and adapter. The model
/// itself keeps its bits, so that unmerging is using it again.
class MergedModelTest {
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

    private static Map<String, Object> options(String kind) {
        return switch (kind) {
            case "ia3", "ln_tuning" -> Map.of();
            case "road" -> Map.of("group_size", 8);
            case "oft" -> Map.of("oft_block_size", 8);
            case "adalora" -> Map.of("init_r", 4, "total_step", 10);
            case "antipasto" -> Map.of("r", 8);
            case "delora" -> Map.of("r", 4, "delora_lambda", 1);
            case "trainable_tokens" -> Map.of("token_indices", List.of(3, 17, 99));
            case "whole" -> Map.of("r", 2, "modules_to_save", List.of("lm_head", "norm"));
            case "biases" -> Map.of("r", 2, "bias", "all");
            case "table" -> Map.of("r", 2, "trainable_token_indices", List.of(3, 17));
            default -> Map.of("r", 4);
        };
    }

    static Stream<Arguments> cases() {
        List<String> kinds = new ArrayList<>(AdapterKinds.ALL.stream().map(AdapterKind::name).toList());
        kinds.removeAll(List.of("eva", "loftq")); // starts of LoRA
        kinds.addAll(List.of("whole", "biases", "table"));
        return kinds.stream()
                .flatMap(kind -> Stream.of("f32", "hqq", "nf4", "int8").map(base -> Arguments.of(kind, base)));
    }

    private DecoderModel model(String base) {
        DecoderModel model = TestModels.load("llama-bias", arena);
        return base.equals("f32")
                ? model
                : QuantizedModel.of(
                        model,
                        Quantizers.of(QuantizeOptions.of(base)),
                        QuantizedModel.ALL_BUT_HEAD,
                        compute,
                        arena,
                        linear -> {});
    }

    private AdapterSet adapters(String kind, DecoderModel model) {
        Map<String, Object> fields = new LinkedHashMap<>(options(kind));
        String registered = List.of("whole", "biases", "table").contains(kind) ? "lora" : kind;
        if (!List.of("ia3", "ln_tuning", "trainable_tokens").contains(kind)) {
            fields.put("target_modules", List.of("q_proj", "o_proj", "down_proj"));
        }
        AdapterSet set =
                AdapterSet.create(AdapterConfig.of(registered, fields), model.sites(), new Initialization(compute, 3));
        SplittableRandom random = new SplittableRandom(4);
        for (AdapterSet.Entry entry : set.parameters()) {
            AdapterParameter parameter = entry.parameter();
            Matrix values = parameter.values();
            for (int row = 0; parameter.trainable() && row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, values.get(row, column) + 0.05f * (float) random.nextGaussian());
                }
            }
        }
        set.refresh(compute);
        return set;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void givesTheLogitsOfModelAndAdapter(String kind, String base) {
        DecoderModel model = model(base);
        float[] before = logits(model, Map.of());
        try (AdapterSet set = adapters(kind, model)) {
            float[] adapted = logits(model, set.adapters());
            DecoderModel merged = MergedModel.of(model, set.adapters(), compute, arena);
            assertThat(TestModels.relativeError(logits(merged, Map.of()), adapted)).isLessThanOrEqualTo(1e-5);
            assertThat(TestModels.relativeError(before, adapted)).isGreaterThan(1e-3);
        }
        assertThat(logits(model, Map.of())).containsExactly(before);
    }

    private float[] logits(DecoderModel model, Map<String, Adapter> adapters) {
        Matrix logits = Matrix.allocate(arena, TEXT.length, model.config().vocabSize());
        try (DecoderSession session = new DecoderSession(model, adapters, compute, TEXT.length)) {
            session.appendAll(TEXT, logits);
        }
        return logits.toArray();
    }
}
