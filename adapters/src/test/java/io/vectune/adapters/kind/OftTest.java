package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OftTest {
    private static final int SIZE = 4;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(1);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private LayerSite identity(int features) {
        Tensor weight = Tensor.allocate(arena, DType.F32, features, features);
        for (int i = 0; i < features; i++) {
            weight.setFloat((long) i * features + i, 1);
        }
        return new LayerSite("q_proj", new DenseWeight(weight), null);
    }

    // What peft 0.21.2 computes in OFTRotationModule._cayley_batch, step by step.
    private static double[] peft(double[] q, int terms) {
        double[] r = SmallMatrix.identity(SIZE);
        if (terms > 1) {
            add(r, q, 2);
            if (terms > 2) {
                double[] power = SmallMatrix.nn(q, q, SIZE, SIZE, SIZE);
                add(r, power, 2);
                for (int p = 3; p < terms - 1; p++) {
                    power = SmallMatrix.nn(power, q, SIZE, SIZE, SIZE);
                    add(r, power, 2);
                }
                add(r, SmallMatrix.nn(power, q, SIZE, SIZE, SIZE), 1);
            }
        }
        return r;
    }

    private static void add(double[] to, double[] what, double factor) {
        for (int e = 0; e < to.length; e++) {
            to[e] += factor * what[e];
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6})
    void theNeumannSeriesIsPeftsForAnyNumberOfTerms(int terms) {
        LayerSite site = identity(SIZE);
        AdapterRecipe recipe =
                AdapterConfig.of("oft", Map.of("oft_block_size", SIZE, "num_cayley_neumann_terms", terms)).recipe();
        Adapter adapter = recipe.create(site, arena, StoredShapes.NONE);
        Matrix angles = adapter.parameters().getFirst().values();
        new SplitMix(2).fillNormal(angles, 0, 0.5);
        adapter.refresh(compute, site.weight());
        double[] q = new double[SIZE * SIZE];
        int entry = 0;
        for (int i = 0; i < SIZE; i++) {
            for (int j = i + 1; j < SIZE; j++) {
                q[i * SIZE + j] = angles.get(0, entry);
                q[j * SIZE + i] = -angles.get(0, entry++);
            }
        }
        Matrix x = Matrix.allocate(arena, SIZE, SIZE);
        Matrix y = Matrix.allocate(arena, SIZE, SIZE);
        for (int i = 0; i < SIZE; i++) {
            x.set(i, i, 1);
        }
        adapter.forward(new AdapterCall(compute, site.weight(), null, x, null, CallOptions.INFERENCE), y);
        double[] expected = peft(q, terms);
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) {
                assertThat((double) y.get(i, j)).isCloseTo(expected[i * SIZE + j], within(2e-6));
            }
        }
    }

    // PEFT takes the nearest divisor in place of a size that does not divide and keeps the size in the configuration.
    @Test
    void filesHoldTheSizeThatPeftTook() {
        LayerSite site = identity(48);
        AdapterRecipe recipe = AdapterConfig.of("oft", Map.of("oft_block_size", 10)).recipe();
        Adapter adapter = recipe.create(site, arena, key -> new long[] {6, 28});
        assertThat(adapter.parameters().getFirst().values().rows()).isEqualTo(6);
        assertThat(adapter.parameters().getFirst().values().columns()).isEqualTo(28);
        AdapterRecipe counted = AdapterConfig.of("oft", Map.of("r", 7, "oft_block_size", 0)).recipe();
        assertThat(counted.create(site, arena, key -> new long[] {6, 28}).parameters().getFirst().values().rows())
                .isEqualTo(6);
    }
}
