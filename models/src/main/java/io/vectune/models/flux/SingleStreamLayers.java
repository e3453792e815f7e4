package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/// The weights of a single stream block.
///
/// @param modulation makes shift, scale and gate from the conditioning
/// @param queryNorm (1, headDim)
/// @param queryNormName the norm's name in a checkpoint, without `.weight`
/// @param keyNorm (1, headDim)
/// @param out reads attention and MLP side by side
public record SingleStreamLayers(
        Linear modulation,
        Linear query,
        Linear key,
        Linear value,
        Matrix queryNorm,
        Matrix keyNorm,
        String queryNormName,
        String keyNormName,
        Linear mlpIn,
        Linear out) {
    List<Linear> linears() {
        return List.of(modulation, query, key, value, mlpIn, out);
    }

    SingleStreamLayers map(UnaryOperator<Linear> map, Map<String, Matrix> norms) {
        return new SingleStreamLayers(
                map.apply(modulation),
                map.apply(query),
                map.apply(key),
                map.apply(value),
                norms.getOrDefault(queryNormName, queryNorm),
                norms.getOrDefault(keyNormName, keyNorm),
                queryNormName,
                keyNormName,
                map.apply(mlpIn),
                map.apply(out));
    }
}
