package io.vectune.adapters.kind;

import io.vectune.adapters.ConfigFields;
import java.util.LinkedHashMap;
import java.util.Map;

/// Fields that LoHa and LoKr share.
final class LycorisFields {
    private LycorisFields() {}

    static UndrawnDropouts dropouts(ConfigFields fields) {
        // Only for convolutions, which this project does not have.
        fields.ignore("use_effective_conv2d");
        return UndrawnDropouts.read(fields, "rank_dropout", "module_dropout");
    }

    static Map<String, Object> patterns(
            Map<String, Double> ranks, Map<String, Double> alphas, UndrawnDropouts dropouts) {
        Map<String, Object> fields = new LinkedHashMap<>();
        Map<String, Integer> whole = new LinkedHashMap<>();
        ranks.forEach((pattern, value) -> whole.put(pattern, value.intValue()));
        fields.put("rank_pattern", whole);
        fields.put("alpha_pattern", alphas);
        fields.putAll(dropouts.fields());
        return fields;
    }
}
