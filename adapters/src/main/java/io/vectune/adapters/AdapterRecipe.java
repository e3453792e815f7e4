package io.vectune.adapters;

import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The validated configuration of one kind: knows how to make the adapter of a layer. Immutable.
public interface AdapterRecipe {
    /// The kind as the command line names it.
    String kind();

    /// The kind as `adapter_config.json` names it: `LORA`.
    String peftType();

    /// The fields of `adapter_config.json` that belong to this kind.
    Map<String, Object> fields();

    /// The targets where a configuration names none: what PEFT takes for models of the Llama family.
    default List<String> defaultTargets() {
        return List.of("q_proj", "v_proj");
    }

    /// Whether this kind can adapt such a part of a host; most sit on linear layers.
    default boolean sitsOn(LayerSite.Part part) {
        return part.isLinear();
    }

    /// The field that training would need and that is not supported, with its value; null if there is none. Such an
    /// adapter can be applied, merged and converted.
    default @Nullable String untrainable() {
        return null;
    }

    /// The rank of the low-rank product that a new adapter of the layer gets, or 0 for kinds without one or with checks
    /// of their own.
    default int rankOf(LayerSite site) {
        return 0;
    }

    /// This recipe with what its layers share; most kinds share nothing.
    ///
    /// @param arena owns what is shared
    default AdapterRecipe forLayers(List<LayerSite> targets, Arena arena) {
        return this;
    }

    /// Makes the adapter of a layer; parameters are zero or the identity until [#initialize] or a file fills them.
    ///
    /// @param arena owns the parameters
    /// @param shapes what a file holds for this layer, which settles ranks; [StoredShapes#NONE] for a new adapter
    /// @throws IllegalArgumentException if the configuration does not fit the layer; the message names the layer
    Adapter create(LayerSite site, Arena arena, StoredShapes shapes);

    /// The factor of the low-rank product in a layer; 1 for kinds without one.
    ///
    /// @param storedRank of the layer's factors
    /// @throws io.vectune.runtime.VectuneException if the configuration says another rank
    default double scaling(String module, int storedRank) {
        return 1;
    }

    /// Gives a new adapter its start values.
    void initialize(Adapter adapter, LayerSite site, Initialization initialization);

    /// What data the start values need or can use.
    default StartData startData() {
        return StartData.NONE;
    }

    /// The factor of [Adapter#regularize] in the loss, for each of so many layers; 0 for kinds without such a term.
    default double penaltyFactor(int layers) {
        return 0;
    }

    /// Work beside the optimizer after each step, or null for kinds without any.
    ///
    /// @param adapters of all layers, as this recipe made them
    default @Nullable StepRule stepRule(List<Adapter> adapters) {
        return null;
    }

    /// Refuses an adapter of a file whose function also depends on what neither the file nor the base holds.
    ///
    /// @param where the file or the layer, for the message
    /// @throws io.vectune.runtime.VectuneException naming the field
    default void requireRepeatable(String where) {}

    /// Completes an adapter whose stored parameters a file has filled: what files do not hold is recomputed.
    default void complete(Adapter adapter, LayerSite site, Initialization initialization) {}
}
