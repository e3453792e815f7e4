package io.vectune.models.checkpoint;

import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/// Which layers of a checkpoint are quantized: those with a 2-D float tensor `NAME.weight`.
///
/// In a model, embeddings and the output head stay dense, as the libraries leave them; `include` brings a layer back,
/// `exclude` leaves one out. Both match a layer whose name is the text, ends with `.text`, or has it as a path part.
///
/// @param model whether the checkpoint is a model and not a bare file of tensors
public record LayerSelection(boolean model, List<String> include, List<String> exclude) {
    private static final Set<String> KEPT_DENSE =
            Set.of("embed_tokens", "lm_head", "wte", "wpe", "shared", "word_embeddings", "position_embeddings");
    private static final String WEIGHT = ".weight";

    public LayerSelection {
        include = List.copyOf(include);
        exclude = List.copyOf(exclude);
    }

    /// The layers, in the order of the file.
    ///
    /// @throws VectuneException if there is none, or a text of `include` or `exclude` matches nothing
    public List<String> select(TensorSource source) {
        List<String> candidates = new ArrayList<>();
        for (String name : source.names()) {
            if (name.endsWith(WEIGHT)) {
                Tensor tensor = source.tensor(name);
                if (tensor.axes() == 2 && isQuantizable(tensor.dtype()) && tensor.elements() > 0) {
                    candidates.add(name.substring(0, name.length() - WEIGHT.length()));
                }
            }
        }
        requireDense(source, candidates);
        requireMatches("--include", include, candidates);
        requireMatches("--exclude", exclude, candidates);
        List<String> selected = candidates.stream().filter(this::isSelected).toList();
        if (selected.isEmpty()) {
            throw new VectuneException(
                    source.origin()
                            + ": expected at least one 2-D float tensor NAME.weight to"
                            + " quantize, found none"
                            + (candidates.isEmpty()
                                    ? ""
                                    : " among " + candidates.size() + " after --include and --exclude"));
        }
        return selected;
    }

    /// A checkpoint whose linear layers are quantized already has nothing left but embeddings, the head and norms.
    private void requireDense(TensorSource source, List<String> candidates) {
        if (candidates.stream().anyMatch(layer -> isSelected(layer) || !isKeptDense(layer))) {
            return;
        }
        QuantizedLayers.formatOf(source)
                .ifPresent(format -> {
                    throw new VectuneException(
                            source.origin()
                                    + ": its layers are quantized already ("
                                    + format
                                    + "); quantize the original model, or make this one dense first with vectune dequantize");
                });
    }

    private static boolean isQuantizable(DType dtype) {
        return dtype == DType.F32 || dtype == DType.F16 || dtype == DType.BF16;
    }

    private boolean isSelected(String layer) {
        if (exclude.stream().anyMatch(text -> matches(layer, text))) {
            return false;
        }
        if (include.stream().anyMatch(text -> matches(layer, text))) {
            return true;
        }
        return !isKeptDense(layer);
    }

    private boolean isKeptDense(String layer) {
        return model && KEPT_DENSE.contains(layer.substring(layer.lastIndexOf('.') + 1));
    }

    private static boolean matches(String layer, String text) {
        return ("." + layer + ".").contains("." + text + ".");
    }

    private static void requireMatches(String option, List<String> texts, List<String> candidates) {
        for (String text : texts) {
            if (candidates.stream().noneMatch(layer -> matches(layer, text))) {
                throw new VectuneException(
                        option + " " + text + ": matches no layer of the model" + NearMatches.hint(text, candidates));
            }
        }
    }
}
