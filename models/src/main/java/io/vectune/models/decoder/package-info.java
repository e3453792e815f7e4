/// The Llama family of decoders: configuration, weights, forward, hand-written backward, key/value cache.
///
/// A [io.vectune.models.decoder.DecoderModel] is immutable and shared by all threads; what changes during a run (cache,
/// activations, scratch) belongs to a [io.vectune.models.decoder.DecoderSession], a
/// [io.vectune.models.decoder.DecoderBatchSession] or a [io.vectune.models.decoder.DecoderPass], each for one thread at
/// a time. Reads no files: see `io.vectune.models.load`. Weights are never changed and not owned; whoever opened their
/// arena closes it.
package io.vectune.models.decoder;
