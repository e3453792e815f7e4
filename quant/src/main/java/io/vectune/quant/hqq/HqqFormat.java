package io.vectune.quant.hqq;

import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.WeightFormat;
import io.vectune.runtime.safetensors.TensorSource;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/// HQQ layers in safetensors files, as hqq and transformers store them (see [HqqStateDict]).
public final class HqqFormat implements WeightFormat {
    /// The one format; it has no state.
    public HqqFormat() {}

    @Override
    public String name() {
        return "hqq";
    }

    @Override
    public boolean recognizes(TensorSource source, String layer) {
        return source.contains(layer + ".W_q");
    }

    @Override
    public Set<String> keys(TensorSource source, String layer) {
        Set<String> keys = new LinkedHashSet<>();
        for (String key : HqqStateDict.COMMON_KEYS) {
            keys.add(layer + "." + key);
        }
        for (String what : List.of("scale", "zero")) {
            keys.add(layer + "." + what);
            keys.add(layer + "." + what + "_q");
            for (String key : HqqStateDict.NESTED_KEYS) {
                keys.add(layer + ".meta_" + what + "." + key);
            }
        }
        keys.add(layer + ".zero_scale");
        keys.removeIf(key -> !source.contains(key));
        return keys;
    }

    @Override
    public QuantizedWeight load(TensorSource source, String layer, LoadContext context) {
        HqqWeight weight = HqqStateReader.read(new EncodedState(source, layer + "."), context.arena());
        HqqDeclaration.check(context.quantizationConfig(), source.origin(), layer, weight);
        return weight;
    }
}
