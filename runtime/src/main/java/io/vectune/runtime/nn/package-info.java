/// The operations of a decoder besides its matrix products, forward and backward: normalization, rotary embedding,
/// attention, gates, embedding, cross-entropy, optimizers.
///
/// Every operation is a final class of static methods over a session's [io.vectune.runtime.compute.Compute] and
/// [io.vectune.runtime.tensor.Matrix] views of shape (tokens, features). Behind each stands a package-private kernel
/// interface with a scalar and a vector implementation, chosen once by [io.vectune.runtime.compute.KernelTier]. Work is
/// split over rows, heads or columns so that each unit computes its results in an order of its own: the same bits for
/// any number of threads. Nothing here keeps state between calls.
package io.vectune.runtime.nn;
