import org.jspecify.annotations.NullMarked;

/// Model hosts, tokenizers, data sets, training, generation, evaluation.
@NullMarked
module io.vectune.models {
    requires transitive io.vectune.adapters;
    requires transitive io.vectune.quant;
    requires transitive io.vectune.runtime;
    requires static transitive org.jspecify;
    // java.beans: a signature of the template engine's expression language
    requires java.desktop;
    requires jinjava;
    requires tools.jackson.databind;

    exports io.vectune.models.bench;
    exports io.vectune.models.chat;
    exports io.vectune.models.data;
    exports io.vectune.models.checkpoint;
    exports io.vectune.models.decoder;
    exports io.vectune.models.eval;
    exports io.vectune.models.flux;
    exports io.vectune.models.flux.file;
    exports io.vectune.models.generate;
    exports io.vectune.models.load;
    exports io.vectune.models.train;
    exports io.vectune.models.transform;
    exports io.vectune.models.text;
}
