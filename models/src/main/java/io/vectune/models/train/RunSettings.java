package io.vectune.models.train;

import io.vectune.adapters.AdapterSet;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// What a run was made with: everything that must be the same for a checkpoint to go on to the same bits.
///
/// @param values by the name that messages use, in the order in which differences are told
record RunSettings(Map<String, String> values) {
    // Maps of a configuration have no order of their own.
    private static final JsonMapper MAPPER =
            JsonMapper.builder().enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS).build();

    /// Fields of an adapter's configuration that say where its model was, not what it computes.
    private static final Set<String> DESCRIPTIVE =
            Set.of(
                    "base_model_name_or_path",
                    "revision",
                    "task_type",
                    "auto_mapping",
                    "inference_mode",
                    "peft_version");

    private static final String NOTHING = "nothing";

    /// The settings of a run.
    static RunSettings of(AdapterSet adapters, TrainingObjective objective, TrainerOptions options) {
        Map<String, String> values = new LinkedHashMap<>(objective.settings());
        adapters.config()
                .fields()
                .forEach((field, value) -> {
                    if (!DESCRIPTIVE.contains(field)) {
                        values.put("adapter " + field, MAPPER.writeValueAsString(value));
                    }
                });
        values.put("optimizer", options.optimizer().toString());
        values.put("learning rate", Double.toString(options.learningRate()));
        values.put("schedule", options.schedule().shape().name().toLowerCase(Locale.ROOT));
        values.put("warm-up steps", Integer.toString(options.schedule().warmupSteps()));
        values.put("steps", Integer.toString(options.schedule().totalSteps()));
        values.put("clip", Double.toString(options.clip()));
        values.put("LoRA+ ratio", Double.toString(options.outputFactorRatio()));
        values.put("weight decay", options.decayScales() ? "of all" : "of factors");
        values.put("seed", Long.toString(options.seed()));
        return new RunSettings(values);
    }

    /// The text that a checkpoint keeps.
    String text() {
        return MAPPER.writeValueAsString(values);
    }

    /// Refuses the checkpoint of a run with other settings.
    ///
    /// @param text what the checkpoint keeps
    /// @param origin the checkpoint, for messages
    /// @throws VectuneException that names each difference
    void requireSame(String text, String origin) {
        if (!text.startsWith("{")) {
            throw new VectuneException(
                    origin
                            + ": expected a checkpoint that says which model and adapter it belongs to, found one of an"
                            + " earlier version; start the run again");
        }
        ObjectNode found = StrictJson.parseObject(text, origin);
        Set<String> names = new LinkedHashSet<>(values.keySet());
        names.addAll(found.propertyNames());
        List<String> differences = new ArrayList<>();
        for (String name : names) {
            String here = values.getOrDefault(name, NOTHING);
            String there = found.path(name).asString(NOTHING);
            if (!here.equals(there)) {
                differences.add(name + ": expected " + here + ", found " + there);
            }
        }
        if (!differences.isEmpty()) {
            throw new VectuneException(
                    origin
                            + ": the checkpoint is of a run with other settings: "
                            + String.join("; ", differences)
                            + "; resume with the options of that run");
        }
    }
}
