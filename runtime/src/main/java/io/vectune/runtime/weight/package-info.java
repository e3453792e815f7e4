/// What a frozen weight is to products, adapters and models: something that decodes tiles and multiplies few tokens by
/// itself. Here are the interface, the dense formats and a wider view of any weight; quantized formats are in the
/// module `quant`. Weights are immutable and safe for all threads.
package io.vectune.runtime.weight;
