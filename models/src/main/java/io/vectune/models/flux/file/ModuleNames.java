package io.vectune.models.flux.file;

import io.vectune.models.flux.FluxConfig;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What the layers of a Flux transformer are called: in diffusers, in the original release (where queries, keys and
/// values are one layer), and by xlabs' attention processors; each also with underscores for dots, as kohya's scripts
/// write them.
final class ModuleNames {
    /// The layers of diffusers that one layer of a file stands for.
    ///
    /// @param modules names in diffusers
    /// @param rows output features of each
    /// @param swapHalves whether the first half of the output features comes second: the original release has shift
    ///   before scale in the last modulation
    record Target(List<String> modules, List<Integer> rows, boolean swapHalves) {
        int outFeatures() {
            return rows.stream().mapToInt(Integer::intValue).sum();
        }
    }

    private final FluxConfig config;
    private final Map<String, Target> targets = new LinkedHashMap<>();
    private final Map<String, String> norms = new LinkedHashMap<>();

    ModuleNames(FluxConfig config) {
        this.config = config;
        int dim = config.innerDim();
        single("img_in", "x_embedder", dim);
        single("txt_in", "context_embedder", dim);
        embedder("time_in", "timestep_embedder");
        embedder("guidance_in", "guidance_embedder");
        embedder("vector_in", "text_embedder");
        single("final_layer.linear", "proj_out", config.outChannels());
        put("norm_out.linear", new Target(List.of("norm_out.linear"), List.of(2 * dim), false));
        put("final_layer.adaLN_modulation.1", new Target(List.of("norm_out.linear"), List.of(2 * dim), true));
        for (int index = 0; index < config.numLayers(); index++) {
            doubleBlock("double_blocks." + index + ".", "transformer_blocks." + index + ".");
        }
        for (int index = 0; index < config.numSingleLayers(); index++) {
            singleBlock("single_blocks." + index + ".", "single_transformer_blocks." + index + ".");
        }
    }

    private void embedder(String original, String diffusers) {
        String prefix = "time_text_embed." + diffusers + ".";
        single(original + ".in_layer", prefix + "linear_1", config.innerDim());
        single(original + ".out_layer", prefix + "linear_2", config.innerDim());
    }

    private void doubleBlock(String original, String diffusers) {
        int dim = config.innerDim();
        String attention = diffusers + "attn.";
        single(original + "img_mod.lin", diffusers + "norm1.linear", 6 * dim);
        single(original + "txt_mod.lin", diffusers + "norm1_context.linear", 6 * dim);
        several(original + "img_attn.qkv", attention, List.of("to_q", "to_k", "to_v"));
        several(original + "txt_attn.qkv", attention, List.of("add_q_proj", "add_k_proj", "add_v_proj"));
        single(original + "img_attn.proj", attention + "to_out.0", dim);
        single(original + "txt_attn.proj", attention + "to_add_out", dim);
        single(original + "img_mlp.0", diffusers + "ff.net.0.proj", config.mlpDim());
        single(original + "img_mlp.2", diffusers + "ff.net.2", dim);
        single(original + "txt_mlp.0", diffusers + "ff_context.net.0.proj", config.mlpDim());
        single(original + "txt_mlp.2", diffusers + "ff_context.net.2", dim);
        alias(original + "processor.qkv_lora1", original + "img_attn.qkv");
        alias(original + "processor.qkv_lora2", original + "txt_attn.qkv");
        alias(original + "processor.proj_lora1", original + "img_attn.proj");
        alias(original + "processor.proj_lora2", original + "txt_attn.proj");
        norm(original + "img_attn.norm.query_norm", attention + "norm_q");
        norm(original + "img_attn.norm.key_norm", attention + "norm_k");
        norm(original + "txt_attn.norm.query_norm", attention + "norm_added_q");
        norm(original + "txt_attn.norm.key_norm", attention + "norm_added_k");
    }

    private void singleBlock(String original, String diffusers) {
        int dim = config.innerDim();
        String attention = diffusers + "attn.";
        single(original + "modulation.lin", diffusers + "norm.linear", 3 * dim);
        several(original + "processor.qkv_lora", attention, List.of("to_q", "to_k", "to_v"));
        single(original + "linear2", diffusers + "proj_out", dim);
        alias(original + "processor.proj_lora", original + "linear2");
        String mlp = diffusers + "proj_mlp";
        put(mlp, new Target(List.of(mlp), List.of(config.mlpDim()), false));
        put(
                original + "linear1",
                new Target(
                        List.of(attention + "to_q", attention + "to_k", attention + "to_v", mlp),
                        List.of(dim, dim, dim, config.mlpDim()),
                        false));
        norm(original + "norm.query_norm", attention + "norm_q");
        norm(original + "norm.key_norm", attention + "norm_k");
    }

    private void single(String original, String diffusers, int rows) {
        Target target = new Target(List.of(diffusers), List.of(rows), false);
        put(original, target);
        put(diffusers, target);
    }

    private void several(String original, String prefix, List<String> modules) {
        List<String> names = new ArrayList<>();
        for (String module : modules) {
            String name = prefix + module;
            names.add(name);
            put(name, new Target(List.of(name), List.of(config.innerDim()), false));
        }
        put(original, new Target(names, Collections.nCopies(names.size(), config.innerDim()), false));
    }

    private void alias(String name, String known) {
        Target target = targets.get(known);
        if (target != null) {
            put(name, target);
        }
    }

    private void put(String name, Target target) {
        targets.put(name, target);
        targets.put(name.replace('.', '_'), target);
    }

    private void norm(String original, String diffusers) {
        norms.put(original + ".scale", diffusers);
        norms.put(diffusers + ".weight", diffusers);
    }

    /// What a layer's name in a file stands for, or null.
    @Nullable Target target(String stem) {
        return targets.get(stem);
    }

    /// The norm in diffusers that a key stands for, or null.
    @Nullable String norm(String key) {
        return norms.get(key);
    }

    /// All names with dots.
    List<String> known() {
        return targets.keySet().stream().filter(name -> name.contains(".") || !name.contains("_blocks_")).toList();
    }
}
