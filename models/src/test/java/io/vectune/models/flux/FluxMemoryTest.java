package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class FluxMemoryTest {
    // The workspace grows in steps of 16 MiB and leaves the rest of a step that is too small for the next matrix.
    private static final long STEPS = 4L << 24;
    private static final int IMAGE = 1600;
    private static final int TEXT = 200;

    private final SplittableRandom random = new SplittableRandom(1);

    private Linear linear(Arena arena, String name, int outFeatures, int inFeatures) {
        Tensor weight = Tensor.allocate(arena, DType.F32, outFeatures, inFeatures);
        for (long i = 0; i < weight.elements(); i++) {
            weight.setFloat(i, (float) random.nextDouble(-0.1, 0.1));
        }
        return new Linear(name, new DenseWeight(weight), null);
    }

    private FluxModel model(Arena arena, int doubles, int singles) {
        FluxConfig config = new FluxConfig(16, 16, doubles, singles, 64, 4, 24, 20, false, List.of(16, 24, 24));
        int dim = config.innerDim();
        Matrix norm = Matrix.allocate(arena, 1, config.headDim());
        norm.fill(1);
        EmbedderLayers time = new EmbedderLayers(linear(arena, "t1", dim, 256), linear(arena, "t2", dim, dim));
        EmbedderLayers text = new EmbedderLayers(linear(arena, "p1", dim, 20), linear(arena, "p2", dim, dim));
        List<DoubleStreamLayers> doubleBlocks =
                doubles == 0
                        ? List.of()
                        : List.of(
                                new DoubleStreamLayers(stream(arena, "i.", dim, norm), stream(arena, "x.", dim, norm)));
        List<SingleStreamLayers> singleBlocks =
                singles == 0
                        ? List.of()
                        : List.of(
                                new SingleStreamLayers(
                                        linear(arena, "s.mod", 3 * dim, dim),
                                        linear(arena, "s.q", dim, dim),
                                        linear(arena, "s.k", dim, dim),
                                        linear(arena, "s.v", dim, dim),
                                        norm,
                                        norm,
                                        "s.nq",
                                        "s.nk",
                                        linear(arena, "s.in", 4 * dim, dim),
                                        linear(arena, "s.out", dim, 5 * dim)));
        return new FluxModel(
                config,
                linear(arena, FluxModel.X_EMBEDDER, dim, 16),
                linear(arena, "context_embedder", dim, 24),
                time,
                null,
                text,
                doubleBlocks,
                singleBlocks,
                linear(arena, "norm_out.linear", 2 * dim, dim),
                linear(arena, "proj_out", 16, dim));
    }

    private StreamLayers stream(Arena arena, String prefix, int dim, Matrix norm) {
        return new StreamLayers(
                linear(arena, prefix + "mod", 6 * dim, dim),
                linear(arena, prefix + "q", dim, dim),
                linear(arena, prefix + "k", dim, dim),
                linear(arena, prefix + "v", dim, dim),
                norm,
                norm,
                prefix + "nq",
                prefix + "nk",
                linear(arena, prefix + "o", dim, dim),
                linear(arena, prefix + "in", 4 * dim, dim),
                linear(arena, prefix + "out", dim, 4 * dim));
    }

    private static FluxInputs inputs(Arena arena) {
        Matrix imageIds = Matrix.allocate(arena, IMAGE, 3);
        Matrix textIds = Matrix.allocate(arena, TEXT, 3);
        Matrix hidden = Matrix.allocate(arena, IMAGE, 16);
        Matrix encoder = Matrix.allocate(arena, TEXT, 24);
        Matrix pooled = Matrix.allocate(arena, 1, 20);
        hidden.fill(0.5f);
        encoder.fill(0.25f);
        pooled.fill(1);
        imageIds.fill(1);
        textIds.fill(0);
        return new FluxInputs(hidden, encoder, pooled, 0.5f, null, imageIds, textIds);
    }

    @Test
    void whatAPassTakesIsKnownBefore() {
        for (int kind = 0; kind < 2; kind++) {
            try (Arena arena = Arena.ofShared();
                    ThreadTeam team = ThreadTeam.of(2);
                    Compute predicting = new Compute(team);
                    Compute training = new Compute(team)) {
                FluxModel model = model(arena, 1 - kind, kind);
                FluxInputs inputs = inputs(arena);
                Matrix prediction = Matrix.allocate(arena, IMAGE, 16);
                new FluxPass(model, Map.of(), predicting).predict(inputs, prediction);
                assertClose(
                        predicting.workspace().capacityBytes(), FluxMemory.inferenceBytes(model.config(), IMAGE, TEXT));
                AdapterConfig config = AdapterConfig.of("lora", Map.of("r", 16, "target_modules", "all-linear"));
                try (AdapterSet set = AdapterSet.create(config, model.sites(), training, 1);
                        AdapterGradients gradients = new AdapterGradients(set.adapters())) {
                    gradients.zero();
                    new FluxPass(model, set.adapters(), training)
                            .lossAndGradients(inputs, prediction, 1e-4, 1, gradients);
                    assertClose(
                            training.workspace().capacityBytes(),
                            FluxMemory.trainingBytes(model, set.adapters(), IMAGE, TEXT));
                }
            }
        }
    }

    private static void assertClose(long taken, long planned) {
        assertThat(taken).isBetween(planned * 9 / 10, planned * 11 / 10 + STEPS);
    }
}
