package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.Tensor;
import java.util.Optional;

/// The dictionary of one HQQ layer, whatever holds it: encoded tensors of a safetensors file, or plain values of a
/// pickle.
interface HqqState {
    /// How messages call an entry: the file and the full key.
    String where(String key);

    /// The tensor under a key, if there is one.
    Optional<Tensor> tensor(String key);

    /// The number under a key, as text without a trailing `.0`; flags are 0 and 1.
    Optional<String> number(String key);

    /// The text under a key; types as torch prints them.
    Optional<String> text(String key);

    /// The sizes under a key.
    Optional<long[]> sizes(String key);

    /// The dictionary under a key.
    Optional<HqqState> nested(String key);
}
