/// The safetensors file format: mapped reading of single files and of sharded checkpoints, atomic streaming writing.
///
/// A file is 8 bytes of little-endian header length n, n bytes of JSON and then the tensors' bytes, without holes:
///
///     {"__metadata__": {"key": "value"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
///
/// A header is checked in full before a byte of a tensor is used and before anything is allocated by its numbers.
/// Tensors are views of the mapped file; the caller's arena owns the mapping. Readers are immutable and thread-safe.
package io.vectune.runtime.safetensors;
