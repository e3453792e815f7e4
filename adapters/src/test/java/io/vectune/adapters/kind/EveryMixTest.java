package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterMix;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.MixedEmbedding;
import io.vectune.adapters.MixedNorm;
import io.vectune.adapters.RowGroups;
import io.vectune.adapters.Steering;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// All kinds on one layer at once: in one batch, in two threads, in turns.
class EveryMixTest {
    private static final int IN = 64;
    private static final int OUT = 48;
    private static final int ROWS_OF_A_KIND = 3;

    /// Kinds that sit on norms and embeddings; their mixes have tests of their own below.
    static final List<String> OTHER_PARTS = List.of(LnTuning.KIND.name(), TrainableTokens.KIND.name());

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    static Stream<String> kinds() {
        return AdapterKinds.ALL.stream().filter(kind -> !EveryKindTest.hasOwnTests(kind)).map(AdapterKind::name);
    }

    private LayerSite site(String base) {
        return RandomLayer.site(base, OUT, IN, compute, arena);
    }

    private Adapter trained(String kind, LayerSite site, long seed) {
        return RandomLayer.trained(kind, site, seed, compute, arena);
    }

    /// Output and gradients of one call.
    private record Result(Matrix y, Matrix gradInput, List<Matrix> gradients) {
        List<float[]> values() {
            List<float[]> values = new ArrayList<>(List.of(y.toArray(), gradInput.toArray()));
            gradients.forEach(gradient -> values.add(gradient.toArray()));
            return values;
        }
    }

    private Result run(
            LayerSite site, Adapter adapter, Matrix x, Matrix gradOutput, CallOptions options, Compute session) {
        Matrix saved = Matrix.allocate(arena, 1, Math.max(1, (int) adapter.savedFloats(x.rows())));
        AdapterCall call = new AdapterCall(session, site.weight(), site.bias(), x, saved, options);
        Matrix y = Matrix.allocate(arena, x.rows(), adapter.outFeatures());
        adapter.forward(call, y);
        Matrix gradInput = Matrix.allocate(arena, x.rows(), IN);
        List<Matrix> gradients = new ArrayList<>();
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            gradients.add(Matrix.allocate(arena, parameter.values().rows(), parameter.values().columns()));
        }
        adapter.backward(call, gradOutput, gradInput, gradients);
        return new Result(y, gradInput, gradients);
    }

    private Matrix random(int rows, int columns, long seed) {
        Matrix matrix = Matrix.allocate(arena, rows, columns);
        new SplitMix(seed).fillNormal(matrix, 0, 1);
        return matrix;
    }

    // Each kind has rows at two places, the base rows between them, and every row its own steering coefficient.
    @ParameterizedTest
    @ValueSource(strings = {"f32", "bf16", "hqq", "nf4", "int8"})
    void oneBatchHoldsEveryKindAndTheBase(String base) {
        LayerSite site = site(base);
        List<Adapter> adapters = kinds().map(kind -> trained(kind, site, 5)).toList();
        List<RowGroups.Run> runs = new ArrayList<>();
        int rows = 0;
        for (int place = 0; place < 2; place++) {
            for (int index = 0; index < adapters.size(); index++) {
                runs.add(new RowGroups.Run(rows, rows + ROWS_OF_A_KIND, index));
                rows += ROWS_OF_A_KIND;
            }
            runs.add(new RowGroups.Run(rows, rows + 2, RowGroups.BASE));
            rows += 2;
        }
        Matrix x = random(rows, IN, 1);
        Matrix gradOutput = random(rows, OUT, 2);
        float[] coefficients = new float[rows];
        for (int row = 0; row < rows; row++) {
            coefficients[row] = row % 5 - 2;
        }
        CallOptions steered = CallOptions.INFERENCE.withSteering(Steering.ofRows(coefficients));
        MixedAdapter mixed = new MixedAdapter(site, adapters.stream().map(Optional::of).toList());
        Result together = run(site, mixed, x, gradOutput, steered.withGroups(new RowGroups(runs)), compute);

        List<List<Matrix>> sums = new ArrayList<>();
        adapters.forEach(adapter -> sums.add(new ArrayList<>()));
        for (RowGroups.Run run : runs) {
            if (run.adapter() == RowGroups.BASE) {
                checkBaseRows(site, x, together.y(), run);
                continue;
            }
            float[] own = Arrays.copyOfRange(coefficients, run.from(), run.to());
            Result alone =
                    run(
                            site,
                            adapters.get(run.adapter()),
                            x.rows(run.from(), run.to()),
                            gradOutput.rows(run.from(), run.to()),
                            CallOptions.INFERENCE.withSteering(Steering.ofRows(own)),
                            compute);
            String what = adapters.get(run.adapter()).kind() + " on " + base;
            close(what, together.y().rows(run.from(), run.to()), alone.y());
            close(what, together.gradInput().rows(run.from(), run.to()), alone.gradInput());
            sums.get(run.adapter()).addAll(alone.gradients());
        }
        int at = 0;
        for (int index = 0; index < adapters.size(); index++) {
            int count = adapters.get(index).trainableParameters().size();
            for (int parameter = 0; parameter < count; parameter++) {
                double[] expected = AdapterBench.doubles(sums.get(index).get(parameter));
                double[] second = AdapterBench.doubles(sums.get(index).get(count + parameter));
                for (int i = 0; i < expected.length; i++) {
                    expected[i] += second[i];
                }
                double[] found = AdapterBench.doubles(together.gradients().get(at++));
                AdapterBench.close(adapters.get(index).kind() + " gradient " + parameter, found, expected, 3e-6);
            }
        }
    }

    private void checkBaseRows(LayerSite site, Matrix x, Matrix y, RowGroups.Run run) {
        MixedAdapter none = new MixedAdapter(site, List.of());
        RowGroups all = new RowGroups(List.of(new RowGroups.Run(0, 2, RowGroups.BASE)));
        Matrix expected = Matrix.allocate(arena, 2, OUT);
        CallOptions options = CallOptions.INFERENCE.withGroups(all);
        none.forward(
                new AdapterCall(compute, site.weight(), site.bias(), x.rows(run.from(), run.to()), null, options),
                expected);
        close("base", y.rows(run.from(), run.to()), expected);
    }

    private static void close(String what, Matrix found, Matrix expected) {
        AdapterBench.close(what, AdapterBench.doubles(found), AdapterBench.doubles(expected), 2e-6);
    }

    private void same(String what, Matrix found, Matrix expected) {
        assertThat(found.toArray()).as(what).containsExactly(expected.toArray());
    }

    // Rows: three of the first scale, two of the base, two of the second scale.
    @Test
    void rowsOfANormHaveTheBitsOfTheirOwnScale() {
        LayerSite norm =
                new LayerSite(
                        "model.norm",
                        RandomLayer.site("f32", 1, IN, compute, arena).weight(),
                        null,
                        LayerSite.Part.NORM);
        List<Adapter> scales = List.of(new LnTuning(norm, "weight", arena), new LnTuning(norm, "weight", arena));
        for (int index = 0; index < scales.size(); index++) {
            new SplitMix(index).fillNormal(scales.get(index).parameters().getFirst().values(), 0, 1);
        }
        Adapter base = new LnTuning(norm, "weight", arena);
        RowGroups groups =
                new RowGroups(
                        List.of(
                                new RowGroups.Run(0, 3, 0),
                                new RowGroups.Run(3, 5, RowGroups.BASE),
                                new RowGroups.Run(5, 7, 1)));
        AdapterMix mix = AdapterMix.of(norm, scales.stream().map(Optional::of).toList());
        assertThat(mix).isInstanceOf(MixedNorm.class);
        assertThat(mix.outFeatures()).isEqualTo(IN);
        Matrix x = random(7, IN, 1);
        Matrix gradOutput = random(7, IN, 2);
        Result together = run(norm, mix, x, gradOutput, CallOptions.INFERENCE.withGroups(groups), compute);
        for (RowGroups.Run run : groups.runs()) {
            Adapter own = run.adapter() == RowGroups.BASE ? base : scales.get(run.adapter());
            Matrix rows = x.rows(run.from(), run.to());
            Result alone = run(norm, own, rows, gradOutput.rows(run.from(), run.to()), CallOptions.INFERENCE, compute);
            same("y", together.y().rows(run.from(), run.to()), alone.y());
            same("gradient of x", together.gradInput().rows(run.from(), run.to()), alone.gradInput());
            if (run.adapter() != RowGroups.BASE) {
                same(
                        "gradient",
                        mix.gradientsOf(together.gradients(), run.adapter()).getFirst(),
                        alone.gradients().getFirst());
            }
        }
    }

    @Test
    void rowsOfAnEmbeddingHaveTheBitsOfTheirOwnTable() {
        Weight table = RandomLayer.site("hqq", OUT, IN, compute, arena).weight();
        LayerSite site = new LayerSite("model.embed_tokens", table, null, LayerSite.Part.EMBEDDING);
        TrainableTokens tokens = new TrainableTokens(site, List.of(7, 3), "rows", arena);
        FullWeight whole = new FullWeight(site, arena);
        new SplitMix(3).fillNormal(tokens.parameters().getFirst().values(), 0, 1);
        new SplitMix(4).fillNormal(whole.parameters().getFirst().values(), 0, 1);
        int[] ids = {3, 7, 11, 3, 7, 7, 0, 3};
        RowGroups groups =
                new RowGroups(
                        List.of(
                                new RowGroups.Run(0, 3, 0),
                                new RowGroups.Run(3, 5, RowGroups.BASE),
                                new RowGroups.Run(5, 8, 1)));
        MixedEmbedding mix = new MixedEmbedding(site, List.of(Optional.of(tokens), Optional.of(whole)));
        Matrix out = Matrix.allocate(arena, ids.length, IN);
        mix.gather(compute, table, ids, groups, out);
        Matrix expected = Matrix.allocate(arena, ids.length, IN);
        Embedding.gather(compute, table, ids, expected);
        same("base", out.rows(3, 5), expected.rows(3, 5));
        tokens.gather(compute, table, ids, expected);
        same("tokens", out.rows(0, 3), expected.rows(0, 3));
        whole.gather(compute, table, ids, expected);
        same("whole", out.rows(5, 8), expected.rows(5, 8));

        Matrix gradOutput = random(ids.length, IN, 5);
        List<Matrix> gradients = List.of(Matrix.allocate(arena, 2, IN), Matrix.allocate(arena, OUT, IN));
        mix.backwardGather(compute, ids, groups, gradOutput, gradients);
        List<Matrix> apart = List.of(Matrix.allocate(arena, 2, IN), Matrix.allocate(arena, OUT, IN));
        tokens.backwardGather(compute, new int[] {3, 7, 11}, gradOutput.rows(0, 3), apart.subList(0, 1));
        whole.backwardGather(compute, new int[] {7, 0, 3}, gradOutput.rows(5, 8), apart.subList(1, 2));
        same("gradient of the tokens", gradients.get(0), apart.get(0));
        same("gradient of the table", gradients.get(1), apart.get(1));
        assertThatThrownBy(() -> mix.gather(compute, table, ids, RowGroups.NONE, out))
                .hasMessage("row groups: expected 8 rows of the mixed batch, found 0");
    }

    // A trained bias beside each shape of adapter, alone, and a layer that is trained whole.
    @Test
    void biasesAndWholeLayersAreMixedToo() {
        LayerSite site = site("nf4");
        List<Adapter> adapters = new ArrayList<>();
        for (String kind : List.of("lora", "dora", "hra")) {
            adapters.add(new BiasTuned(site, trained(kind, site, 5), arena));
        }
        adapters.add(new BiasTuned(site, null, arena));
        adapters.add(new FullWeight(site, arena));
        List<RowGroups.Run> runs = new ArrayList<>();
        for (int index = 0; index < adapters.size(); index++) {
            new SplitMix(index).fillNormal(adapters.get(index).parameters().getLast().values(), 0, 1);
            runs.add(new RowGroups.Run(3 * index, 3 * index + 3, index));
        }
        Matrix x = random(3 * adapters.size(), IN, 1);
        Matrix gradOutput = random(x.rows(), OUT, 2);
        MixedAdapter mix = new MixedAdapter(site, adapters.stream().map(Optional::of).toList());
        CallOptions options = CallOptions.INFERENCE.withGroups(new RowGroups(runs));
        Result together = run(site, mix, x, gradOutput, options, compute);
        for (RowGroups.Run run : runs) {
            Matrix g = gradOutput.rows(run.from(), run.to());
            Adapter own = adapters.get(run.adapter());
            Result alone = run(site, own, x.rows(run.from(), run.to()), g, CallOptions.INFERENCE, compute);
            close("y", together.y().rows(run.from(), run.to()), alone.y());
            close("gradient of x", together.gradInput().rows(run.from(), run.to()), alone.gradInput());
            List<Matrix> found = mix.gradientsOf(together.gradients(), run.adapter());
            assertThat(found).hasSameSizeAs(alone.gradients());
            for (int index = 0; index < found.size(); index++) {
                close("gradient", found.get(index), alone.gradients().get(index));
            }
        }
    }

    // The groups of LoRA+ follow from it.
    @Test
    void parametersKeepTheFormOfTheirFiles() {
        LayerSite site = site("f32");
        Adapter dora = trained("dora", site, 1);
        Adapter mix = new MixedAdapter(site, List.of(Optional.empty(), Optional.of(dora)));
        assertThat(mix.parameters().stream().map(parameter -> String.valueOf(parameter.stored())).toList())
                .isEqualTo(dora.parameters().stream().map(parameter -> String.valueOf(parameter.stored())).toList());
    }

    @Test
    void refusesAdaptersOfOtherParts() {
        LayerSite norm =
                new LayerSite(
                        "model.norm",
                        RandomLayer.site("f32", 1, IN, compute, arena).weight(),
                        null,
                        LayerSite.Part.NORM);
        List<Optional<Adapter>> linear = List.of(Optional.of(trained("lora", site("f32"), 1)));
        assertThatThrownBy(() -> new MixedNorm(norm, linear))
                .hasMessageContaining("model.norm: expected adapters of a norm in the mixed batch, found lora");
        assertThatThrownBy(() -> new MixedEmbedding(site("f32"), linear))
                .hasMessageContaining("expected adapters of an embedding in the mixed batch, found lora");
    }

    // Switching is naming another adapter in the call: the same bits again after any others, without a refresh.
    @ParameterizedTest
    @MethodSource("kinds")
    void switchingLeavesNothingBehind(String kind) {
        LayerSite site = site("hqq");
        Adapter adapter = trained(kind, site, 5);
        Matrix x = random(7, IN, 1);
        Matrix gradOutput = random(7, OUT, 2);
        List<float[]> first = run(site, adapter, x, gradOutput, CallOptions.INFERENCE, compute).values();
        for (String other : kinds().toList()) {
            run(site, trained(other, site, 9), x, gradOutput, CallOptions.INFERENCE, compute);
            same(run(site, adapter, x, gradOutput, CallOptions.INFERENCE, compute).values(), first);
        }
    }

    @ParameterizedTest
    @MethodSource("kinds")
    void twoThreadsGetTheBitsOfOneAlone(String kind) throws Exception {
        LayerSite site = site("hqq");
        List<Adapter> adapters = List.of(trained(kind, site, 5), trained(kind, site, 6), trained("dora", site, 7));
        Matrix x = random(19, IN, 1);
        Matrix gradOutput = random(19, OUT, 2);
        List<List<float[]>> alone =
                adapters.stream()
                        .map(adapter -> run(site, adapter, x, gradOutput, CallOptions.INFERENCE, compute).values())
                        .toList();
        try (ExecutorService threads = Executors.newFixedThreadPool(adapters.size())) {
            List<Future<List<List<float[]>>>> all = new ArrayList<>();
            for (Adapter adapter : adapters) {
                all.add(
                        threads.submit(() -> {
                            List<List<float[]>> results = new ArrayList<>();
                            try (Compute own = new Compute(team)) {
                                for (int round = 0; round < 10; round++) {
                                    results.add(run(site, adapter, x, gradOutput, CallOptions.INFERENCE, own).values());
                                }
                            }
                            return results;
                        }));
            }
            for (int index = 0; index < adapters.size(); index++) {
                for (List<float[]> result : all.get(index).get()) {
                    same(result, alone.get(index));
                }
            }
        }
    }

    private static void same(List<float[]> found, List<float[]> expected) {
        assertThat(found).hasSameSizeAs(expected);
        for (int index = 0; index < expected.size(); index++) {
            assertThat(found.get(index)).containsExactly(Objects.requireNonNull(expected.get(index)));
        }
    }
}
