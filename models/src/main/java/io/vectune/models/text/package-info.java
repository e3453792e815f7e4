/// Text and tokens: byte-level BPE tokenizers as `tokenizer.json` and GGUF files describe them, and what a chat format
/// is; the templates are in `chat`.
///
/// In: what the published Llama 3, Qwen, SmolLM2 and GPT-2 families need, with the ids of the reference library. Not
/// in: sentencepiece, WordPiece and unigram models; a file that asks for what is not here is refused by name. A
/// [Tokenizer] is immutable and may be shared by all threads.
package io.vectune.models.text;
