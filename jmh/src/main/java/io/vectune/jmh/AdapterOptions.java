package io.vectune.jmh;

import io.vectune.adapters.AdapterConfig;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The configuration in which benchmarks run a kind of adapter: rank 16 where it has one.
final class AdapterOptions {
    /// All seven linear layers of a Llama block.
    static final List<String> ALL_LINEAR =
            List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj");

    private AdapterOptions() {}

    static AdapterConfig config(String kind, List<String> targets) {
        Map<String, Object> options = new HashMap<>();
        options.put("target_modules", targets);
        switch (kind) {
            case "ia3" ->
                    options.put(
                            "feedforward_modules", targets.contains("down_proj") ? List.of("down_proj") : List.of());
            case "road" -> options.put("group_size", 64);
            case "oft" -> options.put("oft_block_size", 32);
            case "adalora" -> {
                options.put("init_r", 16);
                options.put("total_step", 100);
            }
            case "antipasto" -> options.put("r", 64);
            case "lora", "dora" -> {
                options.put("r", 16);
                options.put("lora_alpha", 32);
            }
            default -> options.put("r", 16);
        }
        return AdapterConfig.of(kind, options);
    }
}
