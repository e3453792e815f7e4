/// Matrix products: one blocked product that takes its panels from the decoder of a weight or from plain matrices, both
/// ways; products with few tokens by the format's own kernel, or as dot products of rows that are decoded once;
/// products in which one side is the rank of an adapter.
///
/// Every output is one chain of operations in a fixed order, whatever the threads and the tier: the same bits. Buffers
/// belong to the session's [io.vectune.runtime.compute.Compute]; calls allocate nothing once they are there.
package io.vectune.runtime.matmul;
