/// Numbers in memory off the heap: [io.vectune.runtime.tensor.Tensor] as files hold them, of any element type and size,
/// and [io.vectune.runtime.tensor.Matrix], the f32 rows that kernels work on. Both are views; memory belongs to the
/// arena that made or mapped it.
package io.vectune.runtime.tensor;
