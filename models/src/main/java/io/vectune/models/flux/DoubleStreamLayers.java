package io.vectune.models.flux;

import io.vectune.models.decoder.Linear;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/// The weights of a double stream block.
public record DoubleStreamLayers(StreamLayers image, StreamLayers text) {
    List<Linear> linears() {
        List<Linear> linears = new ArrayList<>(image.linears());
        linears.addAll(text.linears());
        return linears;
    }

    DoubleStreamLayers map(UnaryOperator<Linear> map, Map<String, Matrix> norms) {
        return new DoubleStreamLayers(image.map(map, norms), text.map(map, norms));
    }
}
