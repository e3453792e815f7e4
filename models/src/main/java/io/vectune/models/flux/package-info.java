/// The Flux transformer (FluxTransformer2DModel of diffusers): a rectified-flow transformer over packed image latents
/// and text tokens, with Control LoRAs that widen its input.
///
/// [io.vectune.models.flux.FluxModel] is immutable; what an adapter changes beside its own products (a wider input,
/// other norms of queries and keys) is another model that shares everything else, so the original one is never touched.
/// [io.vectune.models.flux.FluxPass] evaluates one sample and has a hand-written backward.
package io.vectune.models.flux;
