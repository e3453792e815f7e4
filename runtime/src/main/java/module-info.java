import org.jspecify.annotations.NullMarked;

/// Tensors, files, threads and kernels: everything below the weight formats. Knows no model and no adapter.
@NullMarked
module io.vectune.runtime {
    requires jdk.incubator.vector;
    requires static transitive org.jspecify;
    requires tools.jackson.databind;

    exports io.vectune.runtime;
    exports io.vectune.runtime.compute;
    exports io.vectune.runtime.file;
    exports io.vectune.runtime.matmul;
    exports io.vectune.runtime.nn;
    exports io.vectune.runtime.safetensors;
    exports io.vectune.runtime.tensor;
    exports io.vectune.runtime.weight;
}
