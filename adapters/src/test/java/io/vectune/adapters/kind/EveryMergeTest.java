package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.ComposedAdapter;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Merging every kind into every base, alone and with others. Unmerging is using the base again, so the base must keep
/// its bits.
class EveryMergeTest {
    private static final int TOKENS = 24;
    private static final int IN = 64;
    private static final int OUT = 48;

    // |y of the merged layer - y of the adapter| / |y|: f32 sums of 64 terms, some 10 of them in a row for
    // compositions.
    private static final double ALONE = 1e-6;
    private static final double COMPOSED = 2e-6;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    static Stream<Arguments> cases() {
        List<Arguments> cases = new ArrayList<>();
        for (AdapterKind kind : AdapterKinds.ALL) {
            if (!EveryKindTest.hasOwnTests(kind)) {
                for (String base : List.of("f32", "bf16", "hqq", "nf4", "int8")) {
                    cases.add(Arguments.of(kind.name(), base));
                }
            }
        }
        return cases.stream();
    }

    private LayerSite site(String base) {
        return RandomLayer.site(base, OUT, IN, compute, arena);
    }

    private Adapter trained(String kind, LayerSite site, long seed) {
        return RandomLayer.trained(kind, site, seed, compute, arena);
    }

    private static float[] bits(LayerSite site) {
        Weight weight = site.weight();
        float[] values = new float[OUT * IN];
        weight.decode(0, OUT, 0, IN, values, 0, IN);
        return values;
    }

    // The base before and after is compared bit for bit, as are its outputs.
    private void check(LayerSite site, Adapter adapter, double rtol) {
        Matrix x = Matrix.allocate(arena, TOKENS, IN);
        new SplitMix(3).fillNormal(x, 0, 1);
        float[] base = bits(site);
        float[] baseBias = bias(site).toArray();
        Matrix y = Matrix.allocate(arena, TOKENS, OUT);
        adapter.forward(new AdapterCall(compute, site.weight(), site.bias(), x, null, CallOptions.INFERENCE), y);

        Matrix merged = Matrix.allocate(arena, OUT, IN);
        adapter.merge(compute, site.weight(), merged);
        Matrix mergedBias = Matrix.allocate(arena, 1, OUT);
        adapter.mergeBias(site.bias(), mergedBias);
        AdapterOracle.Layer layer = new AdapterOracle.Layer(TOKENS, IN, OUT, new double[0], new double[0]);
        double[] expected =
                layer.linear(AdapterBench.doubles(x), AdapterBench.doubles(merged), AdapterBench.doubles(mergedBias));
        double error = 0;
        double size = 0;
        float[] found = y.toArray();
        for (int i = 0; i < expected.length; i++) {
            error += (found[i] - expected[i]) * (found[i] - expected[i]);
            size += expected[i] * expected[i];
        }
        assertThat(Math.sqrt(error / size)).isLessThanOrEqualTo(rtol);
        assertThat(merged.toArray()).as("the adapter changes something").isNotEqualTo(base);
        assertThat(bits(site)).containsExactly(base);
        assertThat(bias(site).toArray()).containsExactly(baseBias);
    }

    private static Matrix bias(LayerSite site) {
        return java.util.Objects.requireNonNull(site.bias());
    }

    @ParameterizedTest
    @MethodSource("cases")
    void theMergedLayerIsTheAdaptedOne(String kind, String base) {
        LayerSite site = site(base);
        check(site, trained(kind, site, 5), ALONE);
    }

    // A map of the input, one of the output and a change of the rows beside the kind, none at full weight but one.
    @ParameterizedTest
    @MethodSource("cases")
    void severalOfDifferentKindsMergeAsTheyCompose(String kind, String base) {
        LayerSite site = site(base);
        List<ComposedAdapter.Member> members =
                List.of(
                        new ComposedAdapter.Member(trained("hra", site, 1), 0.5f),
                        new ComposedAdapter.Member(trained(kind, site, 5), -0.75f),
                        new ComposedAdapter.Member(trained("road", site, 2), 0.25f),
                        new ComposedAdapter.Member(trained("dora", site, 3), 1));
        check(site, new ComposedAdapter(members), COMPOSED);
    }

    @Test
    void sumsOfChangesAreTheSumOfTheirMerges() {
        LayerSite site = site("hqq");
        float[] base = bits(site);
        float[] expected = base.clone();
        List<ComposedAdapter.Member> members = new ArrayList<>();
        float[] weights = {1, 0.5f, -2};
        List<String> kinds = List.of("lora", "delora", "miss");
        for (int index = 0; index < weights.length; index++) {
            Adapter adapter = trained(kinds.get(index), site, index);
            members.add(new ComposedAdapter.Member(adapter, weights[index]));
            Matrix merged = Matrix.allocate(arena, OUT, IN);
            adapter.merge(compute, site.weight(), merged);
            float[] alone = merged.toArray();
            for (int i = 0; i < expected.length; i++) {
                expected[i] += weights[index] * (alone[i] - base[i]);
            }
        }
        Matrix merged = Matrix.allocate(arena, OUT, IN);
        new ComposedAdapter(members).merge(compute, site.weight(), merged);
        AdapterBench.close("merged", AdapterBench.doubles(merged), doubles(expected), 1e-6);
    }

    private static double[] doubles(float[] values) {
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    @Test
    void whatCannotBeMergedSaysWhy() {
        LayerSite site = site("f32");
        Adapter lora = trained("lora", site, 1);
        Adapter whole = new FullWeight(site, arena);
        assertThatThrownBy(() ->
                        new ComposedAdapter(
                                List.of(new ComposedAdapter.Member(lora, 1), new ComposedAdapter.Member(whole, 1))))
                .hasMessageContaining("full replaces the layer and cannot be combined");
        assertThatThrownBy(() ->
                        new MixedAdapter(site, List.of(Optional.of(lora), Optional.empty()))
                                .merge(compute, site.weight(), Matrix.allocate(arena, OUT, IN)))
                .hasMessageContaining("no one weight to merge into");
        AdapterSet first = AdapterSet.of(Map.of(site.name(), lora), List.of(site));
        AdapterSet second = AdapterSet.of(Map.of(site.name(), whole), List.of(site));
        assertThatThrownBy(() ->
                        AdapterSet.compose(
                                List.of(new AdapterSet.Weighted(first, 1), new AdapterSet.Weighted(second, 1))))
                .hasMessageContaining(site.name());
    }
}
