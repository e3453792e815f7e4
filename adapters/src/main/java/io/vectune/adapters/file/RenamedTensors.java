package io.vectune.adapters.file;

import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.util.Collections;
import java.util.Map;
import java.util.Set;

/// The tensors of a file under the names that PEFT gives them.
record RenamedTensors(String origin, Map<String, Tensor> tensors) implements TensorSource {
    @Override
    public Set<String> names() {
        return Collections.unmodifiableSet(tensors.keySet());
    }

    @Override
    public Tensor tensor(String name) {
        Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw missing(name);
        }
        return tensor;
    }

    @Override
    public Map<String, String> metadata() {
        return Map.of();
    }
}
