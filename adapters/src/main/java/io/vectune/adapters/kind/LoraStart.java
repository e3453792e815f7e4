package io.vectune.adapters.kind;

import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.StartData;
import java.util.List;
import java.util.Locale;
import java.util.Objects;

/// How the factors of a low-rank adapter start: PEFT's `init_lora_weights`.
///
/// @param method the family
/// @param iterations subspace iterations of `pissa_niter_N`, 0 otherwise
record LoraStart(Method method, int iterations) {
    enum Method {
        /// A Kaiming-uniform, B zero.
        KAIMING,
        /// A and B as torch initializes linear layers: not the identity.
        RANDOM,
        /// A normal with deviation 1/rank, B zero.
        GAUSSIAN,
        /// A and B in orthogonal halves of a random basis, so that B A = 0 (rank even).
        ORTHOGONAL,
        /// The top singular triples of the weight; the base is what remains.
        PISSA,
        /// The first columns of Q and rows of R of the weight; the base is what remains.
        OLORA,
        /// A from the principal directions of the layer's inputs, B zero.
        EVA,
        /// The top singular triples of what quantization lost.
        LOFTQ,
        /// B the minor left singular vectors of the weight, frozen; A zero.
        MICA
    }

    static final LoraStart KAIMING = new LoraStart(Method.KAIMING, 0);

    static LoraStart read(ConfigFields fields) {
        Object value = fields.raw("init_lora_weights");
        if (value == null || Boolean.TRUE.equals(value)) {
            return KAIMING;
        }
        if (Boolean.FALSE.equals(value)) {
            return new LoraStart(Method.RANDOM, 0);
        }
        String text = String.valueOf(value).toLowerCase(Locale.ROOT);
        if (text.startsWith("pissa_niter_")) {
            String count = text.substring("pissa_niter_".length());
            if (count.matches("[1-9][0-9]{0,2}")) {
                return new LoraStart(Method.PISSA, Integer.parseInt(count));
            }
        }
        if (List.of("gaussian", "orthogonal", "pissa", "olora", "eva", "loftq", "mica").contains(text)) {
            return new LoraStart(Method.valueOf(text.toUpperCase(Locale.ROOT)), 0);
        }
        throw fields.wrong(
                "init_lora_weights",
                "true, false, gaussian, orthogonal, pissa, pissa_niter_N, olora, eva, loftq or mica",
                Objects.requireNonNull(value));
    }

    /// Whether the start needs neither the weight nor data: true or false in PEFT.
    boolean isPlain() {
        return method == Method.KAIMING || method == Method.RANDOM;
    }

    /// Whether PEFT takes the start out of the base weight.
    boolean isResidual() {
        return method == Method.PISSA || method == Method.OLORA;
    }

    /// What data the start comes from.
    StartData data() {
        return switch (method) {
            case EVA -> StartData.DIRECTIONS;
            case LOFTQ -> StartData.ORIGINALS;
            default -> StartData.NONE;
        };
    }

    /// The value in the file. LoftQ's start is only a start: a file that named it would make PEFT quantize its base. Of
    /// PiSSA the file names the exact decomposition, which is what is computed here for any number of iterations.
    Object field() {
        return switch (method) {
            case KAIMING, LOFTQ -> true;
            case RANDOM -> false;
            default -> method.name().toLowerCase(Locale.ROOT);
        };
    }
}
