package io.vectune.quant;

import io.vectune.runtime.safetensors.TensorSource;
import java.util.Set;

/// How one family of quantized weights lies in a checkpoint. Stateless; all are listed in [WeightFormats].
public interface WeightFormat {
    /// The name of the family: `hqq`, ...
    String name();

    /// Whether `source` holds the layer's weight in this format, judged by names and types alone.
    ///
    /// @param layer name of the linear layer; its tensors start with it and a dot
    boolean recognizes(TensorSource source, String layer);

    /// The names of the tensors that make up the weight of a recognized layer: all that loading reads or checks.
    Set<String> keys(TensorSource source, String layer);

    /// The weight of a recognized layer. Large tensors are not copied: the source's memory must outlive the weight.
    ///
    /// @throws io.vectune.runtime.FileFormatException if tensors are missing, malformed or contradict each other or the
    ///   quantization_config; the message names the source and the tensor
    QuantizedWeight load(TensorSource source, String layer, LoadContext context);
}
