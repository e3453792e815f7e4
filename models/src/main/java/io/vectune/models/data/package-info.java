/// Data sets: .txt and .jsonl files as rows of token ids with their labels.
///
/// Every error names the file and the line. Batches, shuffling and padding belong to the trainer.
package io.vectune.models.data;
