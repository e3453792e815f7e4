package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.RowGroups;
import io.vectune.adapters.Steering;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// All kinds on one layer at once: in one batch, in two threads, in turns.
class EveryMixTest {
    private static final int IN = 64;
    private static final int OUT = 48;
    private static final int ROWS_OF_A_KIND = 3;

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
        Matrix y = Matrix.allocate(arena, x.rows(), OUT);
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
