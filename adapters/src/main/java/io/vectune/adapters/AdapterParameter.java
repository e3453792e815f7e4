package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;

/// One parameter of an adapter.
///
/// @param name our name, as the formulas use it: `loraA`, `loraB`, `magnitude`
/// @param values the live values; a vector is a matrix of one row
/// @param trainable whether an optimizer changes it
public record AdapterParameter(String name, Matrix values, boolean trainable) {}
