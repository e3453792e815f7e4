package io.vectune.adapters.kind;

import io.vectune.adapters.ConfigFields;
import java.util.LinkedHashMap;
import java.util.Map;

/// Fields that LoHa and LoKr share.
final class LycorisFields {
    private LycorisFields() {}

    static void refuseDropout(ConfigFields fields) {
        for (String field : new String[] {"rank_dropout", "module_dropout"}) {
            double value = fields.number(field, 0);
            if (value != 0) {
                throw fields.wrong(field, "0", value);
            }
        }
        // Only for convolutions, which this project does not have.
        fields.ignore("use_effective_conv2d");
    }

    static Map<String, Object> patterns(Map<String, Double> ranks, Map<String, Double> alphas) {
        Map<String, Object> fields = new LinkedHashMap<>();
        Map<String, Integer> whole = new LinkedHashMap<>();
        ranks.forEach((pattern, value) -> whole.put(pattern, value.intValue()));
        fields.put("rank_pattern", whole);
        fields.put("alpha_pattern", alphas);
        fields.put("rank_dropout", 0.0);
        fields.put("module_dropout", 0.0);
        return fields;
    }
}
