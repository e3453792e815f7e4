package io.vectune.models.checkpoint;

import io.vectune.quant.QuantizationError;
import java.util.OptionalDouble;

/// What quantizing a layer did to it.
///
/// @param layer its name
/// @param format how it was quantized, for people
/// @param weights how many it has
/// @param error how far the quantized weight is from the dense one
/// @param denseBytes before
/// @param storedBytes after, metadata included, without a correction
/// @param corrected the part of the weighted squared error that the low-rank correction takes away; empty without one
/// @param correctionBytes what the correction's factors take; 0 without one
/// @param seconds that quantizing took
public record LayerReport(
        String layer,
        String format,
        long weights,
        QuantizationError error,
        long denseBytes,
        long storedBytes,
        OptionalDouble corrected,
        long correctionBytes,
        double seconds) {
    /// Stored bits a weight, metadata included, without a correction.
    public double bitsPerWeight() {
        return 8.0 * storedBytes / weights;
    }

    /// Frobenius norm of the change over that of the weight; 0 for a weight of zeros.
    public double relativeError() {
        return error.relativeError();
    }
}
