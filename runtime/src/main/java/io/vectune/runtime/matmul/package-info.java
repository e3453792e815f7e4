/// Matrix products: one blocked product that takes its panels from the decoder of a weight or from plain matrices, both
/// ways; products with few tokens by the format's own kernel, or as dot products of rows that are decoded once;
/// products in which one side is the rank of an adapter.
///
/// Every output is summed in a fixed order, whatever the threads: the same bits. In the blocked product and that of a
/// small rank the order is that of the formula, in both tiers; with few tokens it depends on the lanes of a vector.
/// Buffers belong to the session's [io.vectune.runtime.compute.Compute]; calls allocate nothing once they are there.
package io.vectune.runtime.matmul;
