/// Pieces that the vector kernels of this module share: loads that widen bytes to lanes, and the fixed-order sum.
///
/// Static methods small enough to be inlined into the kernels; not exported.
package io.vectune.quant.lanes;
