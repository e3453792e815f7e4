package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// One use of an adapted linear layer; the same object goes to forward and backward.
///
/// @param compute the session
/// @param weight the frozen weight (outFeatures, inFeatures)
/// @param bias (1, outFeatures), or null
/// @param x the layer's input (tokens, inFeatures), unchanged between forward and backward
/// @param saved at least [Adapter#savedFloats] floats as one row, filled by forward and read by backward; null in
///   inference
/// @param options what belongs to the call and not to the adapter
public record AdapterCall(
        Compute compute, Weight weight, @Nullable Matrix bias, Matrix x, @Nullable Matrix saved, CallOptions options) {}
