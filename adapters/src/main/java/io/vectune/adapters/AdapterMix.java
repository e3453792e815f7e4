package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// The adapters that several sets have for one module, of which each row of a call uses one, or none: the call's
/// [RowGroups] say which. What this does to a row depends on the part: [MixedAdapter] for linear layers, [MixedNorm],
/// [MixedEmbedding].
///
/// Groups are consecutive rows, so nothing is gathered or scattered.
public abstract class AdapterMix implements Adapter {
    private final List<Optional<Adapter>> members;
    private final LayerSite site;

    AdapterMix(LayerSite site, List<Optional<Adapter>> members) {
        this.site = site;
        this.members = List.copyOf(members);
    }

    /// A mix for a module.
    ///
    /// @param members by the index that row groups name; empty where a set has no adapter for this module
    /// @throws IllegalArgumentException if a member cannot sit on that part
    public static AdapterMix of(LayerSite site, List<Optional<Adapter>> members) {
        return switch (site.part()) {
            case LINEAR, HEAD -> new MixedAdapter(site, members);
            case NORM -> new MixedNorm(site, members);
            case EMBEDDING -> new MixedEmbedding(site, members);
        };
    }

    /// The adapters, by the index that row groups name.
    public final List<Optional<Adapter>> members() {
        return members;
    }

    /// The adapter of a run of rows, or null for the base.
    ///
    /// @throws IllegalArgumentException if the run names an adapter that is not there
    public final @Nullable Adapter memberOf(RowGroups.Run run) {
        if (run.adapter() == RowGroups.BASE) {
            return null;
        }
        if (run.adapter() >= members.size()) {
            throw new IllegalArgumentException(
                    "row groups: expected adapters 0 to " + (members.size() - 1) + ", found " + run.adapter());
        }
        return members.get(run.adapter()).orElse(null);
    }

    /// The runs of a call.
    ///
    /// @throws IllegalArgumentException if they do not cover its rows
    public final List<RowGroups.Run> runs(RowGroups groups, int rows) {
        if (groups.rows() != rows) {
            throw new IllegalArgumentException(
                    "row groups: expected " + rows + " rows of the mixed batch, found " + groups.rows());
        }
        return groups.runs();
    }

    /// The gradients of one member among those of the mix.
    ///
    /// @param gradients in the order of [#trainableParameters]
    /// @param index as row groups name it
    public final List<Matrix> gradientsOf(List<Matrix> gradients, int index) {
        int before = 0;
        for (int other = 0; other < index; other++) {
            before += members.get(other).map(adapter -> adapter.trainableParameters().size()).orElse(0);
        }
        int count = members.get(index).map(adapter -> adapter.trainableParameters().size()).orElse(0);
        return gradients.subList(before, before + count);
    }

    @Override
    public final String kind() {
        return "mixed";
    }

    @Override
    public final int inFeatures() {
        return site.weight().inFeatures();
    }

    @Override
    public final int outFeatures() {
        return site.part() == LayerSite.Part.NORM ? inFeatures() : site.weight().outFeatures();
    }

    /// The module's name.
    final String module() {
        return site.name();
    }

    @Override
    public final List<AdapterParameter> parameters() {
        return numbered(members.stream().flatMap(Optional::stream).toList());
    }

    /// The parameters of several adapters, named after their place: `0.loraA`. They keep the form of their own files,
    /// from which LoRA+ knows its groups.
    static List<AdapterParameter> numbered(List<Adapter> adapters) {
        List<AdapterParameter> parameters = new ArrayList<>();
        for (int index = 0; index < adapters.size(); index++) {
            for (AdapterParameter parameter : adapters.get(index).parameters()) {
                parameters.add(
                        new AdapterParameter(
                                index + "." + parameter.name(),
                                parameter.values(),
                                parameter.trainable(),
                                parameter.role(),
                                parameter.stored()));
            }
        }
        return parameters;
    }

    @Override
    public final void refresh(Compute compute, Weight weight) {
        members.stream().flatMap(Optional::stream).forEach(adapter -> adapter.refresh(compute, weight));
    }

    @Override
    public long savedFloats(int tokens) {
        // What an adapter saves grows with its rows, and groups share the rows among them.
        return members.stream()
                .flatMap(Optional::stream)
                .mapToLong(adapter -> adapter.savedFloats(tokens))
                .max()
                .orElse(0);
    }

    @Override
    public final void merge(Compute compute, Weight weight, Matrix merged) {
        throw new IllegalStateException("a mixed batch has no one weight to merge into; merge each adapter by itself");
    }
}
