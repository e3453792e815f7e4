package io.vectune.adapters;

import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;

/// What initialization may use.
///
/// @param compute the session
/// @param seed every parameter draws from its own stream of this seed, so that the order of layers does not matter
public record Initialization(Compute compute, long seed) {
    /// The random stream of a parameter of a layer.
    public SplitMix random(LayerSite site, String parameter) {
        return SplitMix.of(seed, site.name() + "." + parameter);
    }
}
