/// Adapters of frozen layers: what one is ([io.vectune.adapters.Adapter]), what configures and makes one
/// ([io.vectune.adapters.AdapterConfig], [io.vectune.adapters.AdapterRecipe]), those of a whole model
/// ([io.vectune.adapters.AdapterSet]), several on one layer, and batches whose rows use different ones.
///
/// An adapter sees its layer's weight through [io.vectune.runtime.weight.Weight] alone and never changes it, so it
/// works on every storage format. It is passed with the call; one set may serve many threads as long as no trainer
/// changes its parameters. A set owns the memory of its parameters. Not here: the kinds (`kind`), their files (`file`).
package io.vectune.adapters;
