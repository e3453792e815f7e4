package io.vectune.adapters.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.FullWeight;
import io.vectune.adapters.random.SplitMix;
import io.vectune.adapters.training.TrainableTable;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class PeftDirectoryTest {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final List<LayerSite> sites = new ArrayList<>();

    @TempDir Path directory;

    PeftDirectoryTest() {
        for (String name : List.of("layers.0.q_proj", "layers.0.v_proj", "lm_head")) {
            Tensor weight = Tensor.allocate(arena, DType.F32, 12, 8);
            new SplitMix(name.hashCode()).fillNormal(weight.asMatrix(), 0, 1);
            Matrix bias = Matrix.allocate(arena, 1, 12);
            sites.add(new LayerSite(name, new DenseWeight(weight), bias, name.equals("lm_head")));
        }
    }

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private Path written(Map<String, ?> options) {
        Path target = directory.resolve("adapter");
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of("lora", options), sites, compute, 1)) {
            PeftDirectory.write(set, target, false);
        }
        return target;
    }

    private void change(Path adapter, Map<String, Tensor> replaced, String... dropped) {
        Path file = adapter.resolve(PeftDirectory.WEIGHTS);
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        SafetensorsFile old = SafetensorsFile.open(file, arena);
        old.names().forEach(name -> tensors.put(name, old.tensor(name)));
        tensors.putAll(replaced);
        tensors.keySet().removeAll(List.of(dropped));
        SafetensorsWriter.write(file, tensors, Map.of());
    }

    private void assertRefused(Path adapter, String... parts) {
        assertThatThrownBy(() -> PeftDirectory.read(adapter, sites, compute).close())
                .isInstanceOf(VectuneException.class)
                .hasMessageContainingAll(parts);
    }

    @Test
    void namesMissingAndUnexpectedTensors() {
        Path adapter = written(Map.of("r", 2));
        String key = "base_model.model.layers.0.q_proj.lora_A.weight";
        change(
                adapter,
                Map.of("base_model.model.layers.9.q_proj.lora_A.weight", Tensor.allocate(arena, DType.F32, 2, 8)),
                key);
        assertRefused(adapter, "1 missing (" + key, "1 unexpected (base_model.model.layers.9.q_proj", "near matches");
    }

    @Test
    void namesWrongShapesAndTypes() {
        Path adapter = written(Map.of("r", 2));
        String key = "base_model.model.layers.0.q_proj.lora_B.weight";
        change(adapter, Map.of(key, Tensor.allocate(arena, DType.F32, 12, 3)));
        assertRefused(
                adapter, "lora_B.weight of layers.0.q_proj", "expected the shape [12, 2]", "[12, 3]", "another base");
        change(adapter, Map.of(key, Tensor.allocate(arena, DType.I32, 12, 2)));
        assertRefused(adapter, "expected a float type, found I32");
    }

    @Test
    void namesNonFiniteParameters() {
        Path adapter = written(Map.of("r", 2));
        Tensor broken = Tensor.allocate(arena, DType.F32, 12, 2);
        broken.setFloat(7, Float.NaN);
        change(adapter, Map.of("base_model.model.layers.0.q_proj.lora_B.weight", broken));
        assertRefused(adapter, "layers.0.q_proj: loraB: expected finite values, found NaN at [3, 1]");
    }

    // PEFT saves the head that an adapter targets with it.
    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F32", "BF16", "F16"})
    void copiesOfTheModelsHeadAreNoSurprise(DType type) {
        Path adapter = written(Map.of("r", 2, "target_modules", List.of("q_proj", "lm_head")));
        Tensor head = ((DenseWeight) sites.getLast().weight()).tensor();
        Tensor copy = FloatCast.of(arena, head, type);
        change(adapter, Map.of("base_model.model.lm_head.base_layer.weight", copy));
        try (AdapterSet set = PeftDirectory.read(adapter, sites, compute)) {
            assertThat(set.adapters()).containsOnlyKeys("layers.0.q_proj", "lm_head");
        }
        // The copy of an f32 model beside the same model in another type.
        LayerSite f32 = sites.removeLast();
        sites.add(new LayerSite("lm_head", new DenseWeight(FloatCast.of(arena, head, type)), f32.bias(), true));
        change(adapter, Map.of("base_model.model.lm_head.base_layer.weight", head));
        PeftDirectory.read(adapter, sites, compute).close();
        Tensor other = Tensor.allocate(arena, DType.F32, 12, 8);
        other.asMatrix().copyFrom(head.asMatrix());
        other.setFloat(9, other.getFloat(9) * 1.02f);
        change(adapter, Map.of("base_model.model.lm_head.base_layer.weight", FloatCast.of(arena, other, type)));
        assertRefused(
                adapter, "lm_head.base_layer.weight: expected the weight of lm_head", "other values", "that base");
        change(
                adapter,
                Map.of("base_model.model.lm_head.weight", Tensor.allocate(arena, DType.F32, 14, 8)),
                "base_model.model.lm_head.base_layer.weight");
        assertRefused(adapter, "lm_head.weight: expected the weight of lm_head as the model has it [12, 8]", "14");
    }

    @Test
    void adaptersOfAnEmbeddingAreRefusedByName() {
        Path adapter = written(Map.of("r", 2));
        Tensor table = Tensor.allocate(arena, DType.F32, 12, 8);
        sites.add(new LayerSite("embed_tokens", new DenseWeight(table), null, LayerSite.Part.EMBEDDING));
        change(
                adapter,
                Map.of("base_model.model.embed_tokens.lora_embedding_A", Tensor.allocate(arena, DType.F32, 2, 12)));
        assertRefused(adapter, "embed_tokens: expected adapters of linear layers, found lora_embedding_A");
    }

    @Test
    void tokensOfAnUntiedHeadComeBack() {
        Path target = directory.resolve("tokens");
        Map<String, Object> options = Map.of("r", 2, "trainable_token_indices", Map.of("lm_head", List.of(3, 7)));
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of("lora", options), sites, compute, 1)) {
            Adapter tokens = Objects.requireNonNull(set.adapter("lm_head"));
            new SplitMix(3).fillNormal(tokens.parameters().getFirst().values(), 0, 1);
            PeftDirectory.write(set, target, false);
            try (AdapterSet back = PeftDirectory.read(target, sites, compute)) {
                Adapter read = Objects.requireNonNull(back.adapter("lm_head"));
                assertThat(read.kind()).isEqualTo("trainable_tokens");
                Matrix merged = Matrix.allocate(arena, 12, 8);
                read.merge(compute, sites.getLast().weight(), merged);
                assertThat(merged.rows(7, 8).toArray())
                        .containsExactly(tokens.parameters().getFirst().values().rows(1, 2).toArray());
            }
        }
    }

    @Test
    void tokensOfAHeadThatHasAnAdapterAreRefused() {
        Map<String, Object> options =
                Map.of(
                        "r",
                        2,
                        "target_modules",
                        List.of("lm_head"),
                        "trainable_token_indices",
                        Map.of("lm_head", List.of(3, 7)));
        assertThatThrownBy(() -> AdapterSet.create(AdapterConfig.of("lora", options), sites, compute, 1).close())
                .isInstanceOf(VectuneException.class)
                .hasMessage(
                        "trainable_token_indices: lm_head: expected a layer without another adapter, found lora on"
                                + " lm_head; name it there or in target_modules, not in both");
    }

    @ParameterizedTest
    @CsvSource({"oft,module_dropout", "loha,rank_dropout", "lokr,module_dropout"})
    void dropoutsThatAreNotDrawnHereOnlyForbidTraining(String kind, String field) throws IOException {
        Path target = directory.resolve(kind);
        Map<String, Object> options = kind.equals("oft") ? Map.of("oft_block_size", 4) : Map.of("r", 2);
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of(kind, options), sites, compute, 1)) {
            PeftDirectory.write(set, target, false);
        }
        Path config = target.resolve(PeftDirectory.CONFIG);
        String text = Files.readString(config);
        Files.writeString(config, text.replaceFirst("\"" + field + "\" *: *0.0", "\"" + field + "\": 0.25"));
        try (AdapterSet set = PeftDirectory.read(target, sites, compute)) {
            assertThat(set.config().fields()).containsEntry(field, 0.25);
            assertThatThrownBy(set::requireTrainable)
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining(kind + ": " + field + " = 0.25: expected 0 to train");
            try (AdapterSet mixed = AdapterSet.mixed(List.of(set))) {
                assertThatThrownBy(mixed::requireTrainable).hasMessageContaining("expected 0 to train");
            }
            try (AdapterSet composed = AdapterSet.compose(List.of(new AdapterSet.Weighted(set, 0.5f)))) {
                assertThatThrownBy(composed::requireTrainable).hasMessageContaining("expected 0 to train");
            }
        }
        Map<String, Object> asked = new LinkedHashMap<>(options);
        asked.put(field, 0.25);
        assertThatThrownBy(() -> AdapterSet.create(AdapterConfig.of(kind, asked), sites, compute, 1).close())
                .hasMessageContaining("expected 0 to train");
    }

    // Without its model a file is only renamed, and would then name a start that it does not have.
    @Test
    void aStartThatPeftDrawsAtRandomIsNotRenamed() throws IOException {
        Path target = directory.resolve("pissa");
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of("pissa", Map.of("r", 2)), sites, compute, 1)) {
            PeftDirectory.write(set, target, false);
        }
        Path config = target.resolve(PeftDirectory.CONFIG);
        Files.writeString(config, Files.readString(config).replace("\"pissa\"", "\"pissa_niter_4\""));
        Path out = directory.resolve("renamed.safetensors");
        assertThatThrownBy(() -> AdapterFiles.rename(target, out, AdapterFiles.Format.LORA_LITE, false))
                .isInstanceOf(VectuneException.class)
                .hasMessageContainingAll(
                        target + ": init_lora_weights: expected a start that can be computed again", "pissa_niter_4");
        assertThat(out).doesNotExist();
    }

    @Test
    void refusesConfigurationsThatItCannotFollow() throws IOException {
        Path adapter = written(Map.of("r", 2));
        Path config = adapter.resolve(PeftDirectory.CONFIG);
        String text = Files.readString(config);
        Files.writeString(config, text.replaceFirst("\\{", "{\n  \"alora_invocation_tokens\": [1, 2],"));
        assertRefused(adapter, "adapter_config.json", "alora_invocation_tokens = [1, 2] is not supported");
        Files.writeString(config, text.replace("\"LORA\"", "\"POLY\""));
        assertRefused(adapter, "peft_type: expected one of", "found POLY");
        Files.delete(config);
        assertRefused(adapter, "expected a PEFT adapter with adapter_config.json");
    }

    @Test
    void doesNotWriteOverAnythingUnforced() {
        Path adapter = written(Map.of("r", 2));
        assertThatThrownBy(() -> written(Map.of("r", 3))).isInstanceOf(VectuneException.class);
        try (AdapterSet set = PeftDirectory.read(adapter, sites, compute)) {
            assertThat(set.adapters()).hasSize(2);
            PeftDirectory.write(set, adapter, true);
        }
    }

    @Test
    void modulesToSaveAndBiasesComeBack() {
        Path target = directory.resolve("whole");
        Map<String, Object> options =
                Map.of(
                        "r",
                        2,
                        "modules_to_save",
                        List.of("lm_head"),
                        "bias",
                        "all",
                        "target_modules",
                        List.of("q_proj"));
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of("lora", options), sites, compute, 1)) {
            assertThat(set.adapter("lm_head")).isInstanceOf(FullWeight.class);
            assertThat(set.adapters()).hasSize(3);
            for (AdapterSet.Entry entry : set.parameters()) {
                new SplitMix(entry.name().hashCode()).fillNormal(entry.parameter().values(), 0, 1);
            }
            PeftDirectory.write(set, target, false);
            SafetensorsFile file = SafetensorsFile.open(target.resolve(PeftDirectory.WEIGHTS), arena);
            assertThat(file.names())
                    .containsExactlyInAnyOrder(
                            "base_model.model.layers.0.q_proj.lora_A.weight",
                            "base_model.model.layers.0.q_proj.lora_B.weight",
                            "base_model.model.layers.0.q_proj.base_layer.bias",
                            "base_model.model.layers.0.v_proj.bias",
                            "base_model.model.lm_head.weight",
                            "base_model.model.lm_head.bias");
            try (AdapterSet back = PeftDirectory.read(target, sites, compute)) {
                for (int index = 0; index < set.parameters().size(); index++) {
                    AdapterParameter parameter = back.parameters().get(index).parameter();
                    assertThat(parameter.values().toArray())
                            .containsExactly(set.parameters().get(index).parameter().values().toArray());
                }
                checkWholeLayer(Objects.requireNonNull(back.adapter("lm_head")));
            }
        }
        assertThatThrownBy(() ->
                        AdapterSet.create(
                                        AdapterConfig.of("lora", Map.of("modules_to_save", List.of("embed_tokens"))),
                                        sites,
                                        compute,
                                        1)
                                .close())
                .hasMessageContaining("modules_to_save: embed_tokens");
    }

    private void checkWholeLayer(Adapter adapter) {
        Matrix x = Matrix.allocate(arena, 3, 8);
        new SplitMix(1).fillNormal(x, 0, 1);
        Matrix y = Matrix.allocate(arena, 3, 12);
        LayerSite site = sites.getLast();
        AdapterCall call = new AdapterCall(compute, site.weight(), site.bias(), x, null, CallOptions.INFERENCE);
        adapter.forward(call, y);
        Matrix weight = adapter.parameters().getFirst().values();
        double expected = adapter.parameters().getLast().values().get(0, 4);
        for (int i = 0; i < 8; i++) {
            expected += (double) x.get(2, i) * weight.get(4, i);
        }
        assertThat((double) y.get(2, 4)).isCloseTo(expected, within(1e-5));
        List<Matrix> gradients = List.of(Matrix.allocate(arena, 12, 8), Matrix.allocate(arena, 1, 12));
        adapter.backward(call, y, Matrix.allocate(arena, 3, 8), gradients);
        double gradient = 0;
        for (int t = 0; t < 3; t++) {
            gradient += (double) y.get(t, 4) * x.get(t, 5);
        }
        assertThat((double) gradients.getFirst().get(4, 5)).isCloseTo(gradient, within(1e-4));
    }

    @Test
    void refusesRanksThatAddNothingAndPatternsThatMatchNothing() {
        for (String kind : List.of("lora", "dora", "delora", "adalora")) {
            String rank = kind.equals("adalora") ? "init_r" : "r";
            refusesToCreate(
                    kind, Map.of(rank, 9, "total_step", 10), "q_proj: rank: expected at most 8, the smaller side", "9");
        }
        refusesToCreate("lora", Map.of("rank_pattern", Map.of("q_prj", 2)), "rank_pattern: q_prj: expected", "none");
        refusesToCreate("lora", Map.of("alpha_pattern", Map.of("o_proj", 2)), "alpha_pattern: o_proj", "q_proj");
    }

    private void refusesToCreate(String kind, Map<String, Object> options, String... parts) {
        Map<String, Object> fields = new LinkedHashMap<>(options);
        if (!kind.equals("adalora")) {
            fields.remove("total_step");
        }
        assertThatThrownBy(() -> AdapterSet.create(AdapterConfig.of(kind, fields), sites, compute, 1).close())
                .isInstanceOf(VectuneException.class)
                .hasMessageContainingAll(parts);
    }

    @Test
    void twoThreadsWithTwoAdaptersGetTheSameBitsAsAlone() throws Exception {
        try (AdapterSet lora =
                        AdapterSet.create(
                                AdapterConfig.of("lora", Map.of("r", 2, "init_lora_weights", false)),
                                sites,
                                compute,
                                1);
                AdapterSet dora =
                        AdapterSet.create(
                                AdapterConfig.of("dora", Map.of("r", 2, "init_lora_weights", false)),
                                sites,
                                compute,
                                2);
                ExecutorService threads = Executors.newFixedThreadPool(2)) {
            List<AdapterSet> sets = List.of(lora, dora);
            List<float[]> alone = new ArrayList<>();
            for (AdapterSet set : sets) {
                alone.add(output(set, compute));
            }
            for (int round = 0; round < 20; round++) {
                List<Future<float[]>> both = new ArrayList<>();
                for (AdapterSet set : sets) {
                    both.add(
                            threads.submit(() -> {
                                try (Compute own = new Compute(team)) {
                                    return output(set, own);
                                }
                            }));
                }
                for (int index = 0; index < 2; index++) {
                    assertThat(both.get(index).get()).containsExactly(alone.get(index));
                }
            }
        }
    }

    private float[] output(AdapterSet set, Compute session) {
        try (Arena own = Arena.ofShared()) {
            Matrix x = Matrix.allocate(own, 5, 8);
            new SplitMix(4).fillNormal(x, 0, 1);
            Matrix y = Matrix.allocate(own, 5, 12);
            LayerSite site = sites.getFirst();
            Objects.requireNonNull(set.adapter(site.name()))
                    .forward(new AdapterCall(session, site.weight(), site.bias(), x, null, CallOptions.INFERENCE), y);
            return y.toArray();
        }
    }

    @Test
    void theTableOfTrainableParametersHasALineForEachLayerAndParameter() {
        try (AdapterSet set = AdapterSet.create(AdapterConfig.of("dora", Map.of("r", 2)), sites, compute, 1)) {
            assertThat(TrainableTable.of(set))
                    .contains(
                            new TrainableTable.Line("q_proj", "loraA", "2 x 8", 1, 16, true),
                            new TrainableTable.Line("v_proj", "magnitude", "1 x 12", 1, 12, false));
            assertThat(set.trainableElements()).isEqualTo(2 * (16 + 24 + 12));
        }
    }
}
