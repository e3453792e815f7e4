/// The kinds of adapters, one file each: source and formulas, the configuration's fields, forward, backward, merge.
///
/// A kind is an [io.vectune.adapters.InputMap] or an [io.vectune.adapters.ProductMap], which lets several share the
/// frozen product; kinds of norms and embeddings are [io.vectune.adapters.NormScale] and
/// [io.vectune.adapters.TokenTable]. To add one: its file, and a line in [io.vectune.adapters.AdapterKinds].
package io.vectune.adapters.kind;
