/// The Llama family of decoders: configuration, weights, forward, hand-written backward, key/value cache.
///
/// A [io.vectune.models.decoder.DecoderModel] is immutable and shared by all threads; what changes during a run (cache,
/// activations, scratch) belongs to a [io.vectune.models.decoder.DecoderSession] or a
/// [io.vectune.models.decoder.TrainingPass], each for one thread at a time. Reads no files: see
/// `io.vectune.models.load`. Weights are never changed and not owned; whoever opened their arena closes it.
package io.vectune.models.decoder;
