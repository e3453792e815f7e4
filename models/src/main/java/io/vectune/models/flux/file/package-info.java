/// Files of adapters of Flux transformers: the key styles in which they are published.
package io.vectune.models.flux.file;
