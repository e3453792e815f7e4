package io.vectune.adapters.file;

import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/// Finds the layer that a name in a diffusers or kohya file means: such names begin with the part of the pipeline, and
/// kohya's have `_` for `.`.
@FunctionalInterface
interface LayerNames {
    /// The layer's name.
    ///
    /// @param file for messages
    /// @param name what stands before the parameter
    /// @throws VectuneException if it means no layer, or none that can be told
    String layer(Path file, String name);

    /// The parts of a pipeline that hold the layers which adapters here go to.
    List<String> PARTS = List.of("transformer.", "unet.", "diffusion_model.", StoredAdapter.PREFIX);

    /// Other parts of a pipeline.
    List<String> OTHER_PARTS = List.of("text_encoder.", "text_encoder_2.");

    /// The parts as kohya calls them.
    List<String> KOHYA_PARTS = List.of("lora_unet_", "lora_transformer_");

    /// Other parts as kohya calls them.
    List<String> OTHER_KOHYA_PARTS = List.of("lora_te_", "lora_te1_", "lora_te2_");

    /// The layers of a host.
    static LayerNames of(List<LayerSite> sites) {
        return (file, name) -> {
            for (LayerSite site : sites) {
                if (means(name, site.name())) {
                    return site.name();
                }
            }
            List<String> known = sites.stream().map(LayerSite::name).toList();
            throw new FileFormatException(
                    file
                            + ": "
                            + name
                            + ": the model has no such layer"
                            + NearMatches.hint(name, known)
                            + "; the adapter belongs to another model");
        };
    }

    private static boolean means(String name, String module) {
        String flat = module.replace('.', '_');
        return name.equals(module)
                || PARTS.stream().anyMatch(part -> name.equals(part + module))
                || OTHER_PARTS.stream().anyMatch(part -> name.equals(part + module))
                || KOHYA_PARTS.stream().anyMatch(part -> name.equals(part + flat))
                || OTHER_KOHYA_PARTS.stream().anyMatch(part -> name.equals(part + flat));
    }

    /// Without a host: names lose the part of the pipeline; of kohya's only those can be taken apart whose words are
    /// those of Llama-like decoders.
    static LayerNames alone() {
        return (file, name) -> {
            for (String part : OTHER_PARTS) {
                if (name.startsWith(part)) {
                    throw unclear(file, name, "is of another part of a pipeline");
                }
            }
            for (String part : PARTS) {
                if (name.startsWith(part)) {
                    return name.substring(part.length());
                }
            }
            for (String part : KOHYA_PARTS) {
                if (name.startsWith(part)) {
                    return withDots(file, name, name.substring(part.length()));
                }
            }
            if (name.startsWith("lora_")) {
                throw unclear(file, name, "is of another part of a pipeline");
            }
            return name;
        };
    }

    /// Words of layer names that hold a `_` themselves.
    Set<String> COMPOUNDS =
            Set.of("self_attn", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head");

    private static String withDots(Path file, String name, String flat) {
        List<String> words = new ArrayList<>();
        String[] pieces = flat.split("_", -1);
        for (int index = 0; index < pieces.length; index++) {
            String word = pieces[index];
            String pair = index + 1 < pieces.length ? word + "_" + pieces[index + 1] : "";
            if (COMPOUNDS.contains(pair)) {
                words.add(pair);
                index++;
            } else if (word.equals("model") || word.equals("layers") || word.equals("mlp") || word.matches("\\d+")) {
                words.add(word);
            } else {
                throw unclear(file, name, "has _ for ., and only its model can tell which");
            }
        }
        return String.join(".", words);
    }

    private static VectuneException unclear(Path file, String name, String why) {
        return new VectuneException(file + ": " + name + " " + why + "; convert it with the model (--model)");
    }
}
