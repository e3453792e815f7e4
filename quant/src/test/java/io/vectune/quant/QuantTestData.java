package io.vectune.quant;

import java.nio.file.Path;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The folder of goldens.
public final class QuantTestData {
    private QuantTestData() {}

    /// A file below `test-data`.
    public static Path path(String name) {
        return Path.of(System.getProperty("vectune.testData", "../test-data")).resolve(name);
    }

    /// A JSON file below `test-data`.
    public static JsonNode json(String name) {
        return JsonMapper.shared().readTree(path(name).toFile());
    }
}
