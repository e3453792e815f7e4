package io.vectune.adapters.file;

import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/// Copies of base weights in an adapter's file. PEFT saves the embedding and the output head with an adapter that
/// targets one of them (`lm_head.base_layer.weight`), or when it is asked to (`save_embedding_layers`:
/// `lm_head.weight`). They say nothing new as long as they are those of the model.
final class BaseCopies {
    private static final String BESIDE_ADAPTER = ".base_layer.weight";
    private static final String ALONE = ".weight";

    private BaseCopies() {}

    /// The names among `unexpected` that hold the weights which the model has anyway. A quantized layer cannot tell:
    /// its copy counts as equal when the shape is.
    ///
    /// @throws FileFormatException if a copy differs, or the file adapts an embedding
    static Set<String> equalToTheModels(
            TensorSource source, String prefix, List<LayerSite> sites, List<String> unexpected) {
        List<String> equal = new ArrayList<>();
        for (LayerSite site : sites) {
            if (site.part() != LayerSite.Part.EMBEDDING && !site.outputHead()) {
                continue;
            }
            String module = prefix + site.name();
            if (unexpected.contains(module + ".lora_embedding_A")) {
                throw new FileFormatException(
                        source.origin()
                                + ": "
                                + site.name()
                                + ": expected adapters of linear layers, found lora_embedding_A; low-rank adapters of an"
                                + " embedding are not supported, merge this one with PEFT first");
            }
            for (String suffix : List.of(BESIDE_ADAPTER, ALONE)) {
                if (unexpected.contains(module + suffix)) {
                    requireEqual(source.tensor(module + suffix), site, source.origin(), module + suffix);
                    equal.add(module + suffix);
                }
            }
        }
        return Set.copyOf(equal);
    }

    private static void requireEqual(Tensor copy, LayerSite site, String origin, String name) {
        long[] shape = {site.weight().outFeatures(), site.weight().inFeatures()};
        boolean dense = site.weight() instanceof DenseWeight;
        if (!Arrays.equals(copy.shape(), shape) || (dense && !sameValues(copy, (DenseWeight) site.weight()))) {
            throw new FileFormatException(
                    origin
                            + ": "
                            + name
                            + ": expected the weight of "
                            + site.name()
                            + " as the model has it "
                            + Arrays.toString(shape)
                            + ", found "
                            + (Arrays.equals(copy.shape(), shape) ? "other values" : copy)
                            + "; the adapter was saved on a base with a changed "
                            + site.name()
                            + ", say new tokens: use that base");
        }
    }

    // Equal but for the rounding of the copy's type or of the model's.
    private static boolean sameValues(Tensor copy, DenseWeight weight) {
        if (!copy.dtype().isFloat()) {
            return false;
        }
        DType own = weight.tensor().dtype();
        float relative = Math.max(rounding(copy.dtype()), rounding(own));
        float absolute = Math.max(smallest(copy.dtype()), smallest(own));
        int in = weight.inFeatures();
        float[] row = new float[in];
        for (int o = 0; o < weight.outFeatures(); o++) {
            weight.decode(o, o + 1, 0, in, row, 0, in);
            for (int i = 0; i < in; i++) {
                float value = copy.getFloat((long) o * in + i);
                if (!(Math.abs(value - row[i]) <= relative * Math.abs(row[i]) + absolute)) {
                    return false;
                }
            }
        }
        return true;
    }

    // Half of the smallest number above zero.
    private static float smallest(DType type) {
        return type == DType.F16 ? 0x1p-25f : 0;
    }

    // Half a unit in the last place, relative.
    private static float rounding(DType type) {
        return switch (type) {
            case BF16 -> 0x1p-8f;
            case F16 -> 0x1p-11f;
            default -> 0;
        };
    }
}
