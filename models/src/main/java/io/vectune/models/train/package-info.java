/// Training of adapters: batches, schedules, optimizers, the trainer and its checkpoints.
///
/// A run is a function of its inputs: model, adapter, rows, options and seed. The same inputs give the same bits for
/// any number of threads, with gradient checkpointing or without, in one go or resumed from a checkpoint. Nothing here
/// does console I/O: progress goes to a [io.vectune.models.train.TrainingListener].
package io.vectune.models.train;
