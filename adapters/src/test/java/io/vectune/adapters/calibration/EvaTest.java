package io.vectune.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.Lora;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class EvaTest {
    private static final int FEATURES = 20;
    private static final int TOKENS = 200;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final List<LayerSite> sites = new ArrayList<>();

    EvaTest() {
        for (String name : List.of("a.q_proj", "a.v_proj", "b.q_proj")) {
            Tensor weight = Tensor.allocate(arena, DType.F32, 16, FEATURES);
            new SplitMix(name.hashCode()).fillNormal(weight.asMatrix(), 0, 1);
            sites.add(new LayerSite(name, new DenseWeight(weight), null));
        }
    }

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    // Inputs with a mean of their own and `strong` directions of large variance.
    private Matrix inputs(long seed, int strong) {
        Matrix x = Matrix.allocate(arena, TOKENS, FEATURES);
        SplitMix random = new SplitMix(seed);
        for (int t = 0; t < TOKENS; t++) {
            for (int i = 0; i < FEATURES; i++) {
                double scale = i < strong ? 10.0 / (i + 1) : 0.1;
                x.set(t, i, (float) (3 + scale * random.nextNormal()));
            }
        }
        return x;
    }

    private void feed(InputRecorder recorder, Matrix first, Matrix second) {
        for (LayerSite site : sites) {
            Adapter adapter = Objects.requireNonNull(recorder.adapters().adapter(site.name()));
            Matrix x = site.name().startsWith("a") ? first : second;
            AdapterCall call = new AdapterCall(compute, site.weight(), null, x, null, CallOptions.INFERENCE);
            adapter.forward(call, Matrix.allocate(arena, x.rows(), 16));
        }
    }

    @Test
    void ranksFollowTheVarianceAndSumToTheBudget() {
        try (InputRecorder recorder = new InputRecorder(sites, true, 0, 1)) {
            Matrix rich = inputs(1, 6);
            Matrix poor = inputs(2, 1);
            feed(recorder, rich, poor);
            assertThat(recorder.owner("a.v_proj")).isEqualTo("a.q_proj");
            assertThat(recorder.owner("b.q_proj")).isEqualTo("b.q_proj");
            AdapterConfig config = AdapterConfig.of("lora", Map.of("r", 3, "lora_alpha", 6));
            try (AdapterSet set = Eva.create(config, sites, recorder, Eva.Options.DEFAULT, compute, 4)) {
                int sum = 0;
                for (Adapter adapter : set.adapters().values()) {
                    Lora lora = (Lora) adapter;
                    sum += lora.loraA().rows();
                    assertThat(lora.scaling()).isEqualTo(2f);
                }
                assertThat(sum).isEqualTo(9);
                Lora first = (Lora) Objects.requireNonNull(set.adapter("a.q_proj"));
                Lora shared = (Lora) Objects.requireNonNull(set.adapter("a.v_proj"));
                assertThat(first.loraA().toArray()).startsWith(shared.loraA().rows(0, 1).toArray());
                checkDirections(rich, first.loraA(), true);
            }
        }
    }

    @Test
    void directionsAreThoseOfTheExactDecomposition() {
        for (boolean centered : new boolean[] {true, false}) {
            try (InputRecorder recorder = new InputRecorder(sites, true, 0, 1)) {
                Matrix x = inputs(1, 6);
                feed(recorder, x.rows(0, 50), x.rows(0, 50));
                feed(recorder, x.rows(50, TOKENS), x.rows(50, TOKENS));
                checkDirections(
                        x, recorder.moments("a.v_proj").principal(compute, 4, centered, 1).directions(), centered);
            }
        }
    }

    // Each direction against the right singular vectors of the whole input matrix.
    private static void checkDirections(Matrix x, Matrix directions, boolean centered) {
        double[] rows = new double[TOKENS * FEATURES];
        double[] mean = new double[FEATURES];
        for (int t = 0; t < TOKENS; t++) {
            for (int i = 0; i < FEATURES; i++) {
                mean[i] += centered ? x.get(t, i) / (double) TOKENS : 0;
            }
        }
        for (int t = 0; t < TOKENS; t++) {
            for (int i = 0; i < FEATURES; i++) {
                rows[t * FEATURES + i] = x.get(t, i) - mean[i];
            }
        }
        TopSvd exact = TopSvd.exact(rows, TOKENS, FEATURES, directions.rows());
        for (int k = 0; k < directions.rows(); k++) {
            double cosine = 0;
            for (int i = 0; i < FEATURES; i++) {
                cosine += directions.get(k, i) * exact.v()[k * FEATURES + i];
            }
            assertThat(cosine).isGreaterThan(1 - 1e-4);
        }
    }

    @Test
    void maskedRowsDoNotCount() {
        try (InputRecorder all = new InputRecorder(sites, true, 8, 1);
                InputRecorder masked = new InputRecorder(sites, true, 8, 1)) {
            Matrix x = inputs(1, 6);
            boolean[] mask = new boolean[TOKENS];
            Arrays.fill(mask, 0, 120, true);
            masked.count(mask);
            feed(masked, x, x);
            feed(all, x.rows(0, 120), x.rows(0, 120));
            assertThat(masked.moments("a.q_proj").tokens()).isEqualTo(120);
            float[] expected = all.moments("a.q_proj").principal(compute, 3, true, 1).directions().toArray();
            assertThat(masked.moments("a.q_proj").principal(compute, 3, true, 1).directions().toArray())
                    .containsExactly(expected);
            assertThat(masked.samples()).containsKeys("a.q_proj", "b.q_proj");
        }
    }

    @Test
    void tooFewTokensAreRefused() {
        try (InputRecorder recorder = new InputRecorder(sites, true, 0, 1)) {
            Matrix x = inputs(1, 6);
            feed(recorder, x.rows(0, 3), x.rows(0, 3));
            AdapterConfig config = AdapterConfig.of("lora", Map.of("r", 3));
            assertThatThrownBy(() -> Eva.create(config, sites, recorder, Eva.Options.DEFAULT, compute, 4))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("at least 6 calibration tokens")
                    .hasMessageContaining("found 3");
        }
    }
}
