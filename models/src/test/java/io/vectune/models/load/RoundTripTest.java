package io.vectune.models.load;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Directories that transformers with bitsandbytes, transformers with hqq, and hqq by itself saved: the logits of each
/// are those of its library, multiplied in f32.
class RoundTripTest {
    private static final double NOISE = 1e-5;

    @ParameterizedTest
    @CsvSource({
        "nf4, nf4",
        "nf4-double, nf4",
        "fp4, fp4",
        "int8, int8",
        "hqq4-transformers, hqq 4-bit",
        "hqq3-safetensors, hqq 3-bit",
        "hqq2-qmodel, hqq 2-bit"
    })
    void givesTheLogitsOfTheLibrary(String name, String format) {
        Path directory = TestModels.data().resolve("roundtrip").resolve(name);
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden = SafetensorsFile.open(directory.resolve("logits.golden"), arena);
            DecoderModel model = ModelLoader.load(directory, arena).decoder();
            assertThat(model.layers().getFirst().down().weight().description()).contains(format);
            int[] tokens = TestModels.ids(golden, "tokens");
            Matrix logits = Matrix.allocate(arena, tokens.length, model.config().vocabSize());
            try (DecoderSession session = new DecoderSession(model, Map.of(), compute, tokens.length)) {
                session.appendAll(tokens, logits);
            }
            assertThat(TestModels.relativeError(logits.toArray(), TestModels.floats(golden, "logits")))
                    .isLessThan(NOISE);
        }
    }
}
