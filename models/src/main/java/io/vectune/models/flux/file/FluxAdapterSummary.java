package io.vectune.models.flux.file;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;

/// What an adapter file for a Flux transformer holds, told without the transformer: layers by the file's own names.
///
/// @param style of its keys
/// @param control whether it is a Control LoRA: it replaces norms, or reads an input wider than the latents
/// @param layersByRank number of layers of each rank
/// @param targets number of layers of each kind; `*` stands for the number of a block
/// @param inFeatures input features of x_embedder that it reads; 0 if it leaves the input alone
/// @param norms norms of queries and keys that it replaces
/// @param biases layers whose bias it changes
/// @param alphas layers with an alpha of their own
/// @param textEncoderTensors tensors for other parts of a pipeline
public record FluxAdapterSummary(
        KeyStyle style,
        boolean control,
        SortedMap<Long, Integer> layersByRank,
        SequencedMap<String, Integer> targets,
        long inFeatures,
        int norms,
        int biases,
        int alphas,
        int textEncoderTensors) {
    private static final Pattern OF_FLUX =
            Pattern.compile("(single_transformer_blocks|single_blocks|double_blocks)[._]\\d.*|x_embedder|img_in");
    private static final Pattern BLOCK = Pattern.compile("(?<=blocks[._])\\d+");
    private static final Pattern NORM =
            Pattern.compile(".*(query_norm\\.scale|key_norm\\.scale|norm_(added_)?[qk]\\.weight)");
    private static final Pattern INPUT = Pattern.compile("x_embedder|img_in");
    private static final Pattern OUTPUT = Pattern.compile("proj_out|final_layer[._]linear");

    /// Features of a packed latent token in all released transformers.
    private static final long LATENTS = 64;

    public FluxAdapterSummary {
        layersByRank = Collections.unmodifiableSortedMap(new TreeMap<>(layersByRank));
        targets = Collections.unmodifiableSequencedMap(new LinkedHashMap<>(targets));
    }

    /// Looks at a file.
    ///
    /// @return empty if it holds no adapter of such a transformer
    /// @throws FileFormatException if the factors of a layer are no matrices
    public static Optional<FluxAdapterSummary> of(TensorSource source) {
        boolean flux = false;
        SortedMap<Long, Integer> ranks = new TreeMap<>();
        SequencedMap<String, Integer> targets = new LinkedHashMap<>();
        long inFeatures = 0;
        long latents = LATENTS;
        int norms = 0;
        int biases = 0;
        int alphas = 0;
        int textEncoder = 0;
        for (String name : source.names()) {
            if (AdapterKey.ofTextEncoder(name)) {
                textEncoder++;
                continue;
            }
            AdapterKey key = AdapterKey.of(name);
            flux |= key.part() != AdapterKey.Part.OTHER && OF_FLUX.matcher(key.stem()).matches();
            switch (key.part()) {
                case A -> {
                    Tensor factor = matrix(source, name);
                    ranks.merge(factor.size(0), 1, Integer::sum);
                    targets.merge(BLOCK.matcher(key.stem()).replaceFirst("*"), 1, Integer::sum);
                    if (INPUT.matcher(key.stem()).matches()) {
                        inFeatures = factor.size(1);
                    }
                }
                case B -> {
                    if (OUTPUT.matcher(key.stem()).matches()) {
                        latents = matrix(source, name).size(0);
                    }
                }
                case B_BIAS, BIAS_CHANGE -> biases++;
                case ALPHA -> alphas++;
                case OTHER -> norms += NORM.matcher(name).matches() ? 1 : 0;
                default -> {}
            }
        }
        if (!flux || ranks.isEmpty()) {
            return Optional.empty();
        }
        KeyStyle style = KeyStyle.of(source.names());
        boolean control = norms > 0 || inFeatures > latents;
        return Optional.of(
                new FluxAdapterSummary(style, control, ranks, targets, inFeatures, norms, biases, alphas, textEncoder));
    }

    private static Tensor matrix(TensorSource source, String name) {
        Tensor factor = source.tensor(name);
        if (factor.axes() != 2) {
            throw new FileFormatException(source.origin() + ": " + name + ": expected 2 axes, found " + factor);
        }
        return factor;
    }
}
