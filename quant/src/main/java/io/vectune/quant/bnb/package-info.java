/// Weights in the formats of the bitsandbytes library: NF4 and FP4 (4 bits, blocks with an absmax, optionally quantized
/// itself) and LLM.int8() (rows of signed bytes with an absmax each).
///
/// Quantizers give the bytes of bitsandbytes 0.50.2 on the CPU. Where that library's CPU path is wrong (absmax taken
/// from another block when rows do not hold whole blocks; a constant of the int8 product that is 1.8e-5 too large), the
/// documented formula is computed instead.
///
/// Weights are immutable and safe for all threads; their bytes belong to the arena that made or mapped them. Not here:
/// optimizers, the bf16 repacking of some CPUs, GPU layouts.
package io.vectune.quant.bnb;
