/// Quantized weights as checkpoints hold them: one [io.vectune.quant.WeightFormat] a family reads them, one
/// [io.vectune.quant.WeightQuantizer] a method makes them, and every [io.vectune.quant.QuantizedWeight] names the
/// tensors it is written as.
///
/// To add a format: a package with its weight, a line in [io.vectune.quant.WeightFormats] and one in
/// [io.vectune.quant.Quantizers].
package io.vectune.quant;
