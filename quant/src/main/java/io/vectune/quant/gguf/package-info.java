/// GGUF files, read only: typed metadata, tensors as mapped segments, and the block formats as weights.
///
/// A GGUF file names the dimensions of a tensor innermost first; everything here uses the order of the other formats,
/// outermost first, so a linear layer is (outFeatures, inFeatures). Nothing is dequantized as a whole: a
/// [io.vectune.runtime.weight.Weight] of a block format decodes tiles from the mapped bytes. The arena given to
/// [io.vectune.quant.gguf.GgufFile#open] owns the mapping. All types are immutable and safe for all threads.
///
/// Not here: writing GGUF, the importance-matrix formats (IQ*), tokenizers, model layouts.
package io.vectune.quant.gguf;
