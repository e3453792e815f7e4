/// Kernels that the kinds share: the low-rank path forward and backward, elementwise work on the rows of activations,
/// dropout from a seed. Static methods over the caller's scratch; not exported.
package io.vectune.adapters.kernel;
