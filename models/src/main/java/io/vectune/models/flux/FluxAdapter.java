package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Matrix;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A low-rank adapter of a Flux transformer as a file holds it: a LoRA, or a Control LoRA that reads a wider input and
/// brings norms of its own. Immutable; its memory belongs to the arena of whoever read it.
///
/// @param name what messages and weights call it
/// @param style the key style of its file, for people
/// @param updates by module name of diffusers
/// @param norms norms of queries and keys that replace those of the model, by name without `.weight`; they are not
///   scaled
/// @param ignored keys of other parts of a pipeline (text encoders), which a transformer has no place for
public record FluxAdapter(
        String name,
        String style,
        Map<String, LowRankUpdate> updates,
        Map<String, Matrix> norms,
        List<String> ignored) {
    public FluxAdapter {
        updates = Collections.unmodifiableMap(new LinkedHashMap<>(updates));
        norms = Collections.unmodifiableMap(new LinkedHashMap<>(norms));
        ignored = List.copyOf(ignored);
    }

    /// The same adapter under another name.
    public FluxAdapter named(String newName) {
        return new FluxAdapter(newName, style, updates, norms, ignored);
    }

    /// Input features of the transformer that it reads; 0 if it leaves the input alone.
    public int inChannels() {
        LowRankUpdate input = updates.get(FluxModel.X_EMBEDDER);
        return input == null ? 0 : input.a().columns();
    }

    /// Whether it reads a wider input than a model has.
    public boolean widens(FluxConfig config) {
        return inChannels() > config.inChannels();
    }

    /// Number of values.
    public long parameters() {
        Map<Matrix, Long> counted = new LinkedHashMap<>();
        for (LowRankUpdate update : updates.values()) {
            for (Matrix matrix : new Matrix[] {update.a(), update.b(), update.bias()}) {
                if (matrix != null) {
                    counted.put(matrix, (long) matrix.rows() * matrix.columns());
                }
            }
        }
        norms.values().forEach(norm -> counted.put(norm, (long) norm.columns()));
        return counted.values().stream().mapToLong(Long::longValue).sum();
    }

    /// @throws VectuneException naming the layer that a model does not have, or has with another shape
    void requireFits(FluxModel model) {
        Map<String, Linear> linears = new LinkedHashMap<>();
        model.linears().forEach(linear -> linears.put(linear.name(), linear));
        updates.forEach((module, update) -> {
            Linear linear = linears.get(module);
            if (linear == null) {
                throw new VectuneException(
                        name
                                + ": "
                                + module
                                + ": expected a layer of the transformer, found none of that name"
                                + NearMatches.hint(module, linears.keySet())
                                + "; the adapter was made for another model");
            }
            int out = linear.weight().outFeatures();
            int in = linear.weight().inFeatures();
            if (update.b().rows() != out) {
                throw new VectuneException(
                        name
                                + ": "
                                + module
                                + ".lora_B: expected "
                                + out
                                + " rows, as the layer has output features, found "
                                + update.b().rows()
                                + "; the adapter was made for a model of another width");
            }
            if (update.a().columns() != in && !module.equals(FluxModel.X_EMBEDDER)) {
                throw new VectuneException(
                        name
                                + ": "
                                + module
                                + ".lora_A: expected "
                                + in
                                + " columns, as the layer has input features, found "
                                + update.a().columns()
                                + "; the adapter was made for a model of another width");
            }
        });
        Map<String, Matrix> known = model.norms();
        norms.forEach((norm, values) -> {
            Matrix original = known.get(norm);
            if (original == null || original.columns() != values.columns()) {
                throw new VectuneException(
                        name
                                + ": "
                                + norm
                                + ": expected "
                                + (original == null
                                        ? "a norm of the transformer, found none of that name"
                                        : original.columns() + " values, found " + values.columns())
                                + (original == null ? NearMatches.hint(norm, known.keySet()) : "")
                                + "; the adapter was made for another model");
            }
        });
    }
}
