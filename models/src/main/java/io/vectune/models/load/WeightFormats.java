package io.vectune.models.load;

import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Recognizes the quantized formats that a checkpoint's modules may have.
@FunctionalInterface
interface WeightFormats {
    /// No quantized formats.
    WeightFormats DENSE_ONLY = (source, module, outFeatures, inFeatures, taken, arena) -> null;

    /// The quantized weight of a module, or null if its tensors show none.
    ///
    /// @param taken gets the names of the tensors that the weight reads
    @Nullable Weight find(
            TensorSource source, String module, int outFeatures, int inFeatures, Set<String> taken, Arena arena);
}
