package io.vectune.models.decoder;

import java.util.Locale;
import java.util.Optional;

/// The architectures that this host runs; SmolLM2 is [#LLAMA].
public enum DecoderArchitecture {
    /// Llama 1 to 3 and everything saved as LlamaForCausalLM.
    LLAMA("LlamaForCausalLM"),
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    QWEN2("Qwen2ForCausalLM"),
    /// Qwen3: RMS norm of each query and key head.
    QWEN3("Qwen3ForCausalLM");

    private final String className;

    DecoderArchitecture(String className) {
        this.className = className;
    }

    /// The class name in the `architectures` field of config.json.
    public String className() {
        return className;
    }

    /// The name as `model_type` of config.json and `general.architecture` of a GGUF file spell it.
    public String modelType() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// The architecture of that model type or class name, if it is one of ours.
    public static Optional<DecoderArchitecture> ofName(String name) {
        for (DecoderArchitecture architecture : values()) {
            if (architecture.modelType().equals(name) || architecture.className.equals(name)) {
                return Optional.of(architecture);
            }
        }
        return Optional.empty();
    }
}
