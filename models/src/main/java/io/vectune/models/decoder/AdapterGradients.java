package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/// Gradients of the trainable parameters of a set of adapters: for each module one matrix a trainable parameter, in the
/// parameters' order. Modules are in the order of their names.
public final class AdapterGradients implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final Map<String, List<Matrix>> byModule = new LinkedHashMap<>();
    private final List<Matrix> all = new ArrayList<>();

    /// Zeroed gradients.
    public AdapterGradients(Map<String, Adapter> adapters) {
        new TreeMap<>(adapters)
                .forEach((module, adapter) -> {
                    List<Matrix> matrices = new ArrayList<>();
                    for (AdapterParameter parameter : adapter.trainableParameters()) {
                        Matrix values = parameter.values();
                        matrices.add(Matrix.allocate(arena, values.rows(), values.columns()));
                    }
                    byModule.put(module, List.copyOf(matrices));
                    all.addAll(matrices);
                });
    }

    /// The gradients of a module's adapter.
    public List<Matrix> of(String module) {
        return byModule.getOrDefault(module, List.of());
    }

    /// All gradients.
    public List<Matrix> all() {
        return List.copyOf(all);
    }

    /// Sets all gradients to zero.
    public void zero() {
        for (Matrix matrix : all) {
            matrix.fill(0);
        }
    }

    Map<String, List<Matrix>> byModule() {
        return byModule;
    }

    @Override
    public void close() {
        arena.close();
    }
}
