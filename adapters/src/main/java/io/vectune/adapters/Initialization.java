package io.vectune.adapters;

import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.Map;

/// What initialization may use.
///
/// @param compute the session
/// @param seed every parameter draws from its own stream of this seed, so that the order of layers does not matter
/// @param directions by module: principal directions of the layer's inputs (count, inFeatures), for EVA
/// @param importance by module: inputs (samples, inFeatures) whose projections rank singular directions, for AntiPaSTO
/// @param opposites by module: inputs of the opposite behavior; with them directions are ranked by the contrast
/// @param originals by module: the weight before it was quantized, for LoftQ
public record Initialization(
        Compute compute,
        long seed,
        Map<String, Matrix> directions,
        Map<String, Matrix> importance,
        Map<String, Matrix> opposites,
        Map<String, Weight> originals) {
    /// Without data.
    public Initialization(Compute compute, long seed) {
        this(compute, seed, Map.of(), Map.of(), Map.of(), Map.of());
    }

    /// With principal directions of the inputs.
    public Initialization withDirections(Map<String, Matrix> inputDirections) {
        return new Initialization(compute, seed, inputDirections, importance, opposites, originals);
    }

    /// With inputs to rank singular directions by, and perhaps their opposites.
    public Initialization withInputs(Map<String, Matrix> inputs, Map<String, Matrix> contrasting) {
        return new Initialization(compute, seed, directions, inputs, contrasting, originals);
    }

    /// With the weights before quantization.
    public Initialization withOriginals(Map<String, Weight> weights) {
        return new Initialization(compute, seed, directions, importance, opposites, weights);
    }

    /// The random stream of a parameter of a layer.
    public SplitMix random(LayerSite site, String parameter) {
        return SplitMix.of(seed, site.name() + "." + parameter);
    }
}
