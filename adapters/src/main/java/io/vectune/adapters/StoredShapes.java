package io.vectune.adapters;

import org.jspecify.annotations.Nullable;

/// The shapes of a layer's tensors in a file, by the key after the module's name.
@FunctionalInterface
public interface StoredShapes {
    /// No file.
    StoredShapes NONE = key -> null;

    /// The shape of a tensor, or null if the file does not have it.
    long @Nullable [] shape(String key);

    /// One size of a tensor, or a default.
    default int size(String key, int axis, int otherwise) {
        long[] shape = shape(key);
        return shape == null || axis >= shape.length ? otherwise : Math.toIntExact(shape[axis]);
    }
}
