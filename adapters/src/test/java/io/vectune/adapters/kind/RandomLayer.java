package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;

/// A layer of random numbers on any base, and adapters of any kind that have left their start.
final class RandomLayer {
    private RandomLayer() {}

    /// A linear layer with a bias: normal numbers of deviation 0.3, stored as `base` says.
    static LayerSite site(String base, int outFeatures, int inFeatures, Compute compute, Arena arena) {
        SplitMix random = new SplitMix(11);
        Tensor values = Tensor.allocate(arena, DType.F32, outFeatures, inFeatures);
        random.fillNormal(values.asMatrix(), 0, 0.3);
        Matrix bias = Matrix.allocate(arena, 1, outFeatures);
        random.fillNormal(bias, 0, 0.3);
        return new LayerSite(
                "model.layers.0.self_attn.q_proj", EveryBaseTest.stored(base, values, compute, arena), bias);
    }

    /// An adapter whose parameters were moved by normal numbers of deviation 0.1.
    static Adapter trained(String kind, LayerSite site, long seed, Compute compute, Arena arena) {
        AdapterConfig config = AdapterConfig.of(kind, EveryBaseTest.options(kind));
        Adapter adapter = config.recipe().create(site, arena, StoredShapes.NONE);
        config.recipe().initialize(adapter, site, new Initialization(compute, seed));
        SplitMix random = new SplitMix(seed);
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            Matrix values = parameter.values();
            for (int row = 0; row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, values.get(row, column) + 0.1f * (float) random.nextNormal());
                }
            }
        }
        adapter.refresh(compute, site.weight());
        return adapter;
    }
}
