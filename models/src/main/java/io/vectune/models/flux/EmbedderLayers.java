package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import java.util.List;
import java.util.function.UnaryOperator;

/// The two layers of an embedder of the conditioning: second(silu(first(x))).
public record EmbedderLayers(Linear first, Linear second) {
    List<Linear> linears() {
        return List.of(first, second);
    }

    EmbedderLayers map(UnaryOperator<Linear> map) {
        return new EmbedderLayers(map.apply(first), map.apply(second));
    }
}
