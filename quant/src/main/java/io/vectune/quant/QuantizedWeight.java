package io.vectune.quant;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.SequencedMap;

/// A quantized weight that a checkpoint can hold: it knows the tensors that its library stores for a layer.
public interface QuantizedWeight extends Weight {
    /// The type in which its library dequantizes: what a merge into a dense weight writes by default.
    DType computeDtype();

    /// A quantizer that makes weights like this one: same format, width, groups and compute type.
    WeightQuantizer quantizer();

    /// The tensors of this weight in a checkpoint, by full name: those that loading reads back, and whatever else the
    /// library wants beside them. The bias of a layer is not among them.
    ///
    /// @param layer name of the linear layer, `model.layers.0.self_attn.q_proj`: names start with it and a dot
    /// @param arena for small tensors made on the way; large ones are views of this weight
    SequencedMap<String, Tensor> tensors(String layer, Arena arena);

    /// The structural form of [io.vectune.runtime.weight.ExpandedWeight]: this weight with zero columns behind its own,
    /// in the same format. Stored blocks stay bit for bit; nothing is decoded or quantized again.
    ///
    /// @param inFeatures at least that of this weight
    /// @param arena holds the result
    /// @throws io.vectune.runtime.VectuneException if the blocks of this weight straddle rows, so that there is no such
    ///   form
    QuantizedWeight widened(int inFeatures, Arena arena);

    /// This weight times a factor, in the same format and with the same codes: the factor goes into scales, absmax or
    /// SCB. Exact for powers of two; otherwise each of them is rounded once.
    ///
    /// @param arena holds what changes
    QuantizedWeight scaled(float factor, Arena arena);
}
