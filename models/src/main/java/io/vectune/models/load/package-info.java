/// From files to models: Hugging Face directories and GGUF files.
///
/// Files are mapped, never read into the heap and never written. Everything is checked before a model comes out:
/// configuration, names and shapes of all tensors. The caller owns the arena; closing it ends every use of the model.
package io.vectune.models.load;
