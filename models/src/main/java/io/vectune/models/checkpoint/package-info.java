/// Checkpoints into checkpoints: quantize, dequantize, merge. Tensors stream through one at a time, so a model needs no
/// more memory than its largest layer, and a result appears complete or not at all.
package io.vectune.models.checkpoint;
