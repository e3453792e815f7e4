package io.vectune.models.text;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.quant.gguf.GgufFile;
import io.vectune.runtime.file.StrictJson;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The tokenizer inside the published GGUF of SmolLM2-135M-Instruct, which is not in the repository:
///
///     mvn -pl models -am test -Dtest=SmolLm2TokenizerTest -DargLine="... -Dvectune.smollm2=smollm2.gguf"
@EnabledIfSystemProperty(named = "vectune.smollm2", matches = ".+")
class SmolLm2TokenizerTest {
    @Test
    void givesTheIdsOfThePublishedTokenizer() {
        Path testData = Path.of(System.getProperty("vectune.testData"));
        ObjectNode golden = StrictJson.readObject(testData.resolve("smollm2/tokenizer-goldens.json"));
        try (Arena arena = Arena.ofConfined()) {
            Tokenizer tokenizer =
                    GgufTokenizer.of(GgufFile.open(Path.of(System.getProperty("vectune.smollm2")), arena));
            for (JsonNode fact : golden.get("cases")) {
                int[] expected = fact.get("ids").valueStream().mapToInt(JsonNode::asInt).toArray();
                assertThat(tokenizer.encode(fact.get("text").asString(), true)).isEqualTo(expected);
                assertThat(tokenizer.decode(expected, true)).isEqualTo(fact.get("decoded").asString());
            }
        }
    }
}
