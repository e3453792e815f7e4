package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;

/// A trained scale of a norm. A host takes [#scale] where it would take the frozen one, and adds the scale's gradient
/// to the only gradient of this adapter.
public interface NormScale extends Adapter {
    /// The scale (1, features), live.
    Matrix scale();
}
