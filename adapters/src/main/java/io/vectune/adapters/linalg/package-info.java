/// Decompositions for start values and merging: QR, and the leading singular triples of a weight that is only seen a
/// tile at a time. Not exported.
package io.vectune.adapters.linalg;
