package io.vectune.models.flux.file;

import java.util.Collection;

/// How an adapter file names its tensors: the tool that wrote it, told from the names alone.
public enum KeyStyle {
    /// A Control LoRA as the original release names it: fused queries, keys and values, biases, norms.
    CONTROL_RELEASE("original Control LoRA"),
    /// Attention processors of xlabs.
    XLABS("xlabs"),
    /// kohya's factors under the names of the original release, with dots.
    COMFY("ComfyUI"),
    /// kohya's scripts: underscores for dots.
    KOHYA("kohya"),
    /// PEFT's factors under the names of the original release.
    ORIGINAL("original"),
    /// A PEFT directory.
    PEFT("PEFT"),
    /// What diffusers writes.
    DIFFUSERS("diffusers");

    private static final String CONTROL_NORM = "query_norm.scale";

    private final String label;

    KeyStyle(String label) {
        this.label = label;
    }

    /// The name for people.
    public String label() {
        return label;
    }

    /// The style of a file with these tensors.
    static KeyStyle of(Collection<String> names) {
        if (names.stream().anyMatch(name -> name.endsWith(CONTROL_NORM))) {
            return CONTROL_RELEASE;
        }
        if (anyHolds(names, ".processor.")) {
            return XLABS;
        }
        if (anyHolds(names, "lora_down")) {
            return anyHolds(names, "diffusion_model.") ? COMFY : KOHYA;
        }
        if (anyHolds(names, "double_blocks.") || anyHolds(names, "single_blocks.")) {
            return ORIGINAL;
        }
        return anyHolds(names, "base_model.model.") ? PEFT : DIFFUSERS;
    }

    private static boolean anyHolds(Collection<String> names, String text) {
        return names.stream().anyMatch(name -> name.contains(text));
    }
}
