package io.vectune.models.load;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.text.Tokenizer;
import io.vectune.runtime.VectuneException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class ModelTextTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData"));

    @Test
    void readsTheTokenizerOfADirectoryOnce() {
        ModelText text = ModelText.of(TEST_DATA.resolve("tiny-llama"));
        Tokenizer tokenizer = text.tokenizer();
        assertThat(text.tokenizer()).isSameAs(tokenizer);
        assertThat(tokenizer.decode(tokenizer.encode("Tom gave the old lamp to Mia.", false), true))
                .isEqualTo("Tom gave the old lamp to Mia.");
    }

    @Test
    void readsTheTokenizerInsideAGgufFile() {
        Tokenizer tokenizer = ModelText.of(TEST_DATA.resolve("gguf/decoder.gguf")).tokenizer();
        assertThat(tokenizer.decode(tokenizer.encode("ab", false), true)).isEqualTo("ab");
    }

    @Test
    void namesAModelWithoutATokenizer() {
        assertThatThrownBy(() -> ModelText.of(TEST_DATA.resolve("models/llama")).tokenizer())
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("tokenizer.json")
                .hasMessageContaining("expected a tokenizer here");
    }
}
