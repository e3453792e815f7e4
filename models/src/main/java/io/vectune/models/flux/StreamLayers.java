package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/// The weights of one stream, image or text, of a double stream block.
///
/// @param modulation makes shift, scale and gate of attention and of the MLP from the conditioning
/// @param queryNorm (1, headDim)
/// @param queryNormName the norm's name in a checkpoint, without `.weight`
/// @param keyNorm (1, headDim)
public record StreamLayers(
        Linear modulation,
        Linear query,
        Linear key,
        Linear value,
        Matrix queryNorm,
        Matrix keyNorm,
        String queryNormName,
        String keyNormName,
        Linear attentionOut,
        Linear mlpIn,
        Linear mlpOut) {
    List<Linear> linears() {
        return List.of(modulation, query, key, value, attentionOut, mlpIn, mlpOut);
    }

    StreamLayers map(UnaryOperator<Linear> map, Map<String, Matrix> norms) {
        return new StreamLayers(
                map.apply(modulation),
                map.apply(query),
                map.apply(key),
                map.apply(value),
                norms.getOrDefault(queryNormName, queryNorm),
                norms.getOrDefault(keyNormName, keyNorm),
                queryNormName,
                keyNormName,
                map.apply(attentionOut),
                map.apply(mlpIn),
                map.apply(mlpOut));
    }
}
