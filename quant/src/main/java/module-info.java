import org.jspecify.annotations.NullMarked;

/// Frozen quantized weight formats: quantize, dequantize, multiply, checkpoint layouts. Knows no adapter and no model.
@NullMarked
module io.vectune.quant {
    requires transitive io.vectune.runtime;
    requires jdk.incubator.vector;
    requires static transitive org.jspecify;
    requires transitive tools.jackson.databind;

    exports io.vectune.quant;
    exports io.vectune.quant.bnb;
    exports io.vectune.quant.gguf;
    exports io.vectune.quant.hqq;
}
