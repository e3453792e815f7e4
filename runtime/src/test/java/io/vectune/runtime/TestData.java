package io.vectune.runtime;

import java.nio.file.Files;
import java.nio.file.Path;

/// Finds the golden files that the build passes by the system property `vectune.testData`.
public final class TestData {
    private TestData() {}

    /// A file or directory under test-data.
    public static Path path(String relative) {
        String root = System.getProperty("vectune.testData");
        if (root == null) {
            throw new IllegalStateException("start the tests with -Dvectune.testData=<repository>/test-data");
        }
        Path path = Path.of(root, relative);
        if (!Files.exists(path)) {
            throw new IllegalStateException(path + " does not exist");
        }
        return path;
    }
}
