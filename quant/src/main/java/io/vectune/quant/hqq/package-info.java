/// Half-quadratic quantization: integer codes with a scale and a float zero point for each group of weights.
///
/// Everything has the bits of hqq 0.2.8.post1 on the CPU: codes, scales, zero points, packed words, dequantized values.
/// Weights are immutable and shared by all threads; their memory belongs to the arena that they were made in.
package io.vectune.quant.hqq;
