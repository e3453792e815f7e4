import org.jspecify.annotations.NullMarked;

/// Adapters: forward, backward, merge, files. Sees weights only through the interface of the runtime.
@NullMarked
module io.vectune.adapters {
    requires transitive io.vectune.runtime;
    requires static transitive org.jspecify;
    requires ejml.core;
    requires ejml.ddense;
    requires tools.jackson.databind;

    exports io.vectune.adapters;
    exports io.vectune.adapters.arithmetic;
    exports io.vectune.adapters.calibration;
    exports io.vectune.adapters.file;
    exports io.vectune.adapters.kind;
    exports io.vectune.adapters.target;
    exports io.vectune.adapters.training;
}
