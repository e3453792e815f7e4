package io.vectune.quant;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// Where the goldens lie.
public final class TestData {
    private TestData() {}

    /// A file under test-data.
    public static Path path(String first, String... more) {
        @Nullable String root = System.getProperty("vectune.testData");
        if (root == null) {
            throw new IllegalStateException("expected -Dvectune.testData=<folder test-data of the repository>");
        }
        return Path.of(root, first).resolve(Path.of("", more));
    }
}
