package io.vectune.runtime.safetensors;

import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Tensor;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Named tensors of a file or of a checkpoint of several files.
public interface TensorSource {
    /// All names, in the order of the file or files.
    Set<String> names();

    /// The tensor of that name: a read-only view, no copy.
    ///
    /// @throws VectuneException if there is none; the message offers near matches
    Tensor tensor(String name);

    /// Free text that the file carries beside its tensors.
    Map<String, String> metadata();

    /// What messages call this source: the path as the user gave it.
    String origin();

    /// Whether there is a tensor of that name.
    default boolean contains(String name) {
        return names().contains(name);
    }

    /// The tensor of that name, if there is one.
    default Optional<Tensor> find(String name) {
        return contains(name) ? Optional.of(tensor(name)) : Optional.empty();
    }

    /// The exception for a tensor that is not there.
    default VectuneException missing(String name) {
        return new VectuneException(origin() + ": has no tensor " + name + NearMatches.hint(name, names()));
    }
}
