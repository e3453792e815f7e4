package io.vectune.cli;

import java.io.PrintWriter;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;

/// The `--json` form of a result: one JSON object on one line of stdout.
final class JsonOutput {
    private static final JsonMapper MAPPER = JsonMapper.builder().build();

    private JsonOutput() {}

    /// Prints the object; keys keep their order.
    static void print(PrintWriter out, Map<String, ?> object) {
        out.println(MAPPER.writeValueAsString(object));
        Output.flush(out);
    }
}
