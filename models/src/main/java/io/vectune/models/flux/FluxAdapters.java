package io.vectune.models.flux;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The adapters that are active on a transformer, each with a weight.
///
/// Adding or removing one makes a new object and leaves this one and the base as they are, so that a load that fails
/// has changed nothing and unloading is going back to [#base]. [#model] is the base with a wider input if an adapter
/// reads one, and with the norms that adapters bring; where several bring the same norm the last one counts. Only
/// weights change in place: one store, seen by the next evaluation.
public final class FluxAdapters {
    private record Active(FluxAdapter adapter, AdapterWeight weight) {}

    private final FluxModel base;
    private final FluxModel model;
    private final List<Active> active;
    private final Map<String, Adapter> layers;

    private FluxAdapters(FluxModel base, List<Active> active) {
        this.base = base;
        this.active = List.copyOf(active);
        int channels = base.config().inChannels();
        Map<String, Matrix> norms = new LinkedHashMap<>();
        for (Active one : active) {
            channels = Math.max(channels, one.adapter.inChannels());
            norms.putAll(one.adapter.norms());
        }
        this.model = base.widened(channels).withNorms(norms);
        Map<String, Adapter> byModule = new LinkedHashMap<>();
        for (Linear linear : model.linears()) {
            List<WeightedUpdates.Part> parts = new ArrayList<>();
            for (Active one : active) {
                LowRankUpdate update = one.adapter.updates().get(linear.name());
                if (update != null) {
                    parts.add(new WeightedUpdates.Part(update, one.weight));
                }
            }
            if (!parts.isEmpty()) {
                byModule.put(linear.name(), new WeightedUpdates(linear, parts));
            }
        }
        this.layers = Collections.unmodifiableMap(byModule);
    }

    /// No adapters.
    public static FluxAdapters none(FluxModel base) {
        return new FluxAdapters(base, List.of());
    }

    /// These adapters and one more.
    ///
    /// @throws VectuneException if it does not fit the transformer or its name is taken
    /// @throws IllegalArgumentException for a weight that is not finite
    public FluxAdapters with(FluxAdapter adapter, float weight) {
        requireFinite(adapter.name(), weight);
        for (Active one : active) {
            if (one.adapter.name().equals(adapter.name())) {
                throw new VectuneException(
                        "adapter name " + adapter.name() + ": expected a name that is not in use, choose another one");
            }
        }
        adapter.requireFits(base);
        List<Active> more = new ArrayList<>(active);
        more.add(new Active(adapter, new AdapterWeight(weight)));
        return new FluxAdapters(base, more);
    }

    /// These adapters without one; the others keep their weights.
    public FluxAdapters without(String name) {
        Active found = find(name);
        List<Active> fewer = new ArrayList<>(active);
        fewer.remove(found);
        return new FluxAdapters(base, fewer);
    }

    /// Changes the weight of an adapter, for this object and those made from it.
    ///
    /// @throws IllegalArgumentException for a weight that is not finite
    public void setWeight(String name, float weight) {
        requireFinite(name, weight);
        find(name).weight.set(weight);
    }

    private static void requireFinite(String name, float weight) {
        if (!Float.isFinite(weight)) {
            throw new IllegalArgumentException(
                    "weight of adapter " + name + ": expected a finite number, found " + weight);
        }
    }

    private Active find(String name) {
        List<String> names = new ArrayList<>();
        for (Active one : active) {
            if (one.adapter.name().equals(name)) {
                return one;
            }
            names.add(one.adapter.name());
        }
        throw new VectuneException(
                "adapter name "
                        + name
                        + ": expected one of the active adapters ("
                        + String.join(", ", names)
                        + ")"
                        + NearMatches.hint(name, names));
    }

    /// The transformer without adapters: the object that was given.
    public FluxModel base() {
        return base;
    }

    /// The transformer that these adapters run on.
    public FluxModel model() {
        return model;
    }

    /// What the adapters do to each layer, by module name, for a [FluxPass] over [#model].
    public Map<String, Adapter> layers() {
        return layers;
    }
}
