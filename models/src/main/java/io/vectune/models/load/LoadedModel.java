package io.vectune.models.load;

import io.vectune.models.decoder.DecoderModel;
import java.nio.file.Path;

/// A model and what its files say beside the weights.
///
/// @param origin the directory or file it came from
public record LoadedModel(Path origin, DecoderModel decoder, GenerationDefaults generation) {}
