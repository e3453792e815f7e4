package io.vectune.adapters.kind;

import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.tensor.Matrix;

/// Start values of the factors A (rank, inFeatures) and B (outFeatures, rank), both zero before.
final class LoraFactors {
    private LoraFactors() {}

    static void start(
            LoraStart start, LayerSite site, Initialization initialization, float scaling, Matrix a, Matrix b) {
        SplitMix randomA = initialization.random(site, "loraA");
        SplitMix randomB = initialization.random(site, "loraB");
        switch (start.method()) {
            case KAIMING -> randomA.fillKaiming(a);
            case RANDOM -> {
                randomA.fillKaiming(a);
                randomB.fillKaiming(b);
            }
            case GAUSSIAN -> randomA.fillNormal(a, 0, 1.0 / a.rows());
            default ->
                    throw new IllegalArgumentException(
                            site.name() + ": init_lora_weights = " + start.field() + " with scaling " + scaling);
        }
    }
}
