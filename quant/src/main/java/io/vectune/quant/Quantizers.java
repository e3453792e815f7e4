package io.vectune.quant;

import io.vectune.quant.bnb.FourBitWeightQuantizer;
import io.vectune.quant.bnb.Int8WeightQuantizer;
import io.vectune.quant.hqq.HqqWeightQuantizer;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import java.util.List;

/// The quantizers by the method that a user names.
public final class Quantizers {
    private static final List<String> METHODS = List.of("hqq", "nf4", "fp4", "int8");

    private Quantizers() {}

    /// The known methods.
    public static List<String> methods() {
        return METHODS;
    }

    /// The quantizer for these options.
    ///
    /// @throws VectuneException if the method is unknown or an option has a value that it cannot have
    public static WeightQuantizer of(QuantizeOptions options) {
        return switch (options.method()) {
            case "hqq" -> HqqWeightQuantizer.of(options);
            case "nf4", "fp4" -> FourBitWeightQuantizer.of(options);
            case "int8" -> new Int8WeightQuantizer();
            default ->
                    throw new VectuneException(
                            "method: expected one of "
                                    + String.join(", ", METHODS)
                                    + ", found "
                                    + options.method()
                                    + NearMatches.hint(options.method(), METHODS));
        };
    }
}
