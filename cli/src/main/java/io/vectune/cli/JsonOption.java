package io.vectune.cli;

import picocli.CommandLine.Option;

/// The option `--json` of every command whose result is more than a file.
final class JsonOption {
    @Option(names = "--json", description = "Print the result as one JSON object.")
    private boolean json;

    /// Whether the result goes out as JSON.
    boolean isOn() {
        return json;
    }
}
