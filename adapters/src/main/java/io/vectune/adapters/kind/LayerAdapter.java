package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.weight.Weight;

/// What every kind knows: its name and its layer.
abstract class LayerAdapter implements Adapter {
    final LayerSite site;
    private final String kind;

    LayerAdapter(String kind, LayerSite site) {
        this.kind = kind;
        this.site = site;
    }

    @Override
    public final String kind() {
        return kind;
    }

    @Override
    public final int inFeatures() {
        return site.weight().inFeatures();
    }

    @Override
    public final int outFeatures() {
        return site.weight().outFeatures();
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        // Kinds with derived values override this.
    }
}
