package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class AdaLoraTest {
    private static final AdaLoraAllocator.Schedule SCHEDULE = new AdaLoraAllocator.Schedule(2, 3, 4, 1, 20, 0.85, 0.85);

    private static List<Matrix> gradients(AdapterBench bench, Adapter adapter) {
        List<Matrix> gradients = new ArrayList<>();
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            gradients.add(bench.matrix(parameter.values().rows(), parameter.values().columns()));
        }
        return gradients;
    }

    @Test
    void theBudgetFallsCubically() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            Adapter first = bench.create("adalora", Map.of("init_r", 6, "total_step", 20));
            Adapter second = bench.create("adalora", Map.of("init_r", 6, "total_step", 20));
            AdaLoraAllocator allocator = new AdaLoraAllocator(SCHEDULE, List.of(first, second));
            assertThat(allocator.budget(3)).isEqualTo(12);
            // (12 - 4) (1 - 6/13)^3 + 4
            assertThat(allocator.budget(9)).isEqualTo(5);
            assertThat(allocator.budget(17)).isEqualTo(4);
        }
    }

    @Test
    void keepsTheTripletsThatMatterAndNoMoreThanTheBudget() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            List<Adapter> layers = new ArrayList<>();
            List<List<Matrix>> gradients = new ArrayList<>();
            SplitMix random = new SplitMix(4);
            for (int layer = 0; layer < 2; layer++) {
                Adapter adapter = bench.create("adalora", Map.of("init_r", 6, "total_step", 20));
                bench.perturb(adapter, 0.5);
                layers.add(adapter);
                gradients.add(gradients(bench, adapter));
            }
            AdaLoraAllocator allocator = new AdaLoraAllocator(SCHEDULE, layers);
            for (int step = 1; step <= 20; step++) {
                for (int layer = 0; layer < 2; layer++) {
                    for (Matrix gradient : gradients.get(layer)) {
                        random.fillNormal(gradient, 0, 0.1);
                    }
                    // Triplet 1 of the first layer matters far more than all others.
                    gradients.getFirst().get(2).set(0, 1, step % 2 == 0 ? 50 : 30);
                }
                allocator.afterStep(step, gradients);
                int left = 0;
                for (Adapter layer : layers) {
                    for (float e : ((AdaLora) layer).loraE().toArray()) {
                        left += e == 0 ? 0 : 1;
                    }
                }
                assertThat(left).isLessThanOrEqualTo(allocator.budget(step));
            }
            assertThat(((AdaLora) layers.getFirst()).loraE().get(0, 1)).isNotZero();
        }
    }

    @Test
    void refusesASchedulePastTheEnd() {
        assertThatThrownBy(() ->
                        new AdaLoraAllocator(new AdaLoraAllocator.Schedule(2, 10, 10, 1, 20, 0.85, 0.85), List.of()))
                .hasMessage("adalora: total_step: expected more than tinit + tfinal = 20, found 20");
    }

    @Test
    void orthogonalityTermsHaveTheGradientsOfTheirValues() {
        for (String kind : List.of("adalora", "hra")) {
            try (AdapterBench bench = new AdapterBench(false, 1)) {
                Map<String, Object> options =
                        kind.equals("hra") ? Map.of("r", 4) : Map.of("init_r", 4, "total_step", 9);
                Adapter adapter = bench.create(kind, options);
                bench.perturb(adapter, 0.3);
                List<Matrix> gradients = gradients(bench, adapter);
                adapter.regularize(bench.compute, 1, gradients);
                Matrix values = adapter.trainableParameters().getFirst().values();
                for (int column = 0; column < 5; column++) {
                    float before = values.get(1, column);
                    float step = 1e-2f;
                    values.set(1, column, before + step);
                    double above = adapter.regularize(bench.compute, 0, gradients(bench, adapter));
                    values.set(1, column, before - step);
                    double below = adapter.regularize(bench.compute, 0, gradients(bench, adapter));
                    values.set(1, column, before);
                    double expected = (above - below) / (2 * step);
                    assertThat((double) gradients.getFirst().get(1, column))
                            .isCloseTo(expected, within(2e-3 * Math.max(1, Math.abs(expected))));
                }
            }
        }
    }
}
