/// Adapters in files: PEFT directories, lora-lite, diffusers and kohya.
///
/// Every format is read to a `StoredAdapter`, the configuration and the tensors under PEFT's keys, and written from
/// one; with a host's layers that becomes an [io.vectune.adapters.AdapterSet], without it can only be renamed. Reading
/// is strict: each tensor must find its parameter, each parameter its tensor. Results appear complete or not at all.
package io.vectune.adapters.file;
