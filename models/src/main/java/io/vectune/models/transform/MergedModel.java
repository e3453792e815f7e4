package io.vectune.models.transform;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.NormScale;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Map;

/// Folds adapters into the weights of a model.
public final class MergedModel {
    private MergedModel() {}

    /// The model with dense f32 weights in the adapted layers, adapters folded in; all other layers as they are.
    /// Unmerging is using the base again.
    ///
    /// @param adapters by the name of the linear layer they sit on
    /// @param arena holds the merged weights
    public static DecoderModel of(DecoderModel model, Map<String, Adapter> adapters, Compute compute, Arena arena) {
        DecoderModel merged =
                model.withNorms((name, frozen) -> {
                    Adapter adapter = adapters.get(name);
                    return adapter instanceof NormScale norm ? copy(norm.scale(), arena) : frozen;
                });
        Adapter ofTable = adapters.get(DecoderModel.EMBEDDING);
        if (ofTable != null) {
            Weight table = model.embedding();
            Tensor tensor = Tensor.allocate(arena, DType.F32, table.outFeatures(), table.inFeatures());
            ofTable.merge(compute, table, tensor.asMatrix());
            merged = merged.withEmbedding(new DenseWeight(tensor), ofTable instanceof TrainableTokens);
        }
        return merged.withLinears(linear -> {
            Adapter adapter = adapters.get(linear.name());
            return adapter == null ? linear : merged(linear, adapter, compute, arena);
        });
    }

    private static Matrix copy(Matrix values, Arena arena) {
        Matrix copy = Matrix.allocate(arena, values.rows(), values.columns());
        copy.copyFrom(values);
        return copy;
    }

    /// One layer with its adapter folded in, in f32.
    public static Linear merged(Linear linear, Adapter adapter, Compute compute, Arena arena) {
        int outFeatures = linear.weight().outFeatures();
        Tensor tensor = Tensor.allocate(arena, DType.F32, outFeatures, linear.weight().inFeatures());
        adapter.merge(compute, linear.weight(), tensor.asMatrix());
        Matrix bias = linear.bias();
        if (adapter.changesBias()) {
            Matrix mergedBias = Matrix.allocate(arena, 1, outFeatures);
            adapter.mergeBias(bias, mergedBias);
            bias = mergedBias;
        }
        return new Linear(linear.name(), new DenseWeight(tensor), bias);
    }
}
