package io.vectune.models.flux.file;

import java.util.List;

/// A tensor's name in an adapter file, taken apart.
///
/// @param stem the layer's name, without prefix; the whole name for [Part#OTHER]
/// @param part what the tensor is to the layer
record AdapterKey(String stem, Part part) {
    enum Part {
        A,
        B,
        /// The bias of lora_B, scaled as B is.
        B_BIAS,
        /// A change of the layer's bias that is not scaled by alpha.
        BIAS_CHANGE,
        /// A change of all values of a weight or norm.
        CHANGE,
        ALPHA,
        /// A magnitude of DoRA.
        MAGNITUDE,
        /// A norm, or a name that is not known.
        OTHER
    }

    private record Suffix(String text, Part part) {}

    private static final List<String> PREFIXES =
            List.of("base_model.model.", "transformer.", "diffusion_model.", "lora_unet_", "lora_transformer_");

    private static final List<Suffix> SUFFIXES =
            List.of(
                    new Suffix(".lora_A.weight", Part.A),
                    new Suffix(".lora_B.weight", Part.B),
                    new Suffix(".lora_A.default.weight", Part.A),
                    new Suffix(".lora_B.default.weight", Part.B),
                    new Suffix(".lora_B.bias", Part.B_BIAS),
                    new Suffix(".lora_B.default.bias", Part.B_BIAS),
                    new Suffix(".lora_down.weight", Part.A),
                    new Suffix(".lora_up.weight", Part.B),
                    new Suffix(".lora.down.weight", Part.A),
                    new Suffix(".lora.up.weight", Part.B),
                    new Suffix(".down.weight", Part.A),
                    new Suffix(".up.weight", Part.B),
                    new Suffix(".diff_b", Part.BIAS_CHANGE),
                    new Suffix(".diff", Part.CHANGE),
                    new Suffix(".alpha", Part.ALPHA),
                    new Suffix(".dora_scale", Part.MAGNITUDE),
                    new Suffix(".lora_magnitude_vector", Part.MAGNITUDE),
                    new Suffix(".lora_magnitude_vector.weight", Part.MAGNITUDE));

    static AdapterKey of(String name) {
        String bare = name;
        for (String prefix : PREFIXES) {
            if (bare.startsWith(prefix)) {
                bare = bare.substring(prefix.length());
            }
        }
        for (Suffix suffix : SUFFIXES) {
            if (bare.endsWith(suffix.text)) {
                return new AdapterKey(bare.substring(0, bare.length() - suffix.text.length()), suffix.part);
            }
        }
        return new AdapterKey(bare, Part.OTHER);
    }

    /// Whether a name belongs to a text encoder of the pipeline.
    static boolean ofTextEncoder(String name) {
        return name.startsWith("text_encoder")
                || name.startsWith("lora_te_")
                || name.startsWith("lora_te1_")
                || name.startsWith("lora_te2_")
                || name.startsWith("text_encoders.");
    }
}
