package io.vectune.cli;

import java.nio.file.Files;
import java.nio.file.Path;

/// An adapter named on the command line, `PATH` or `PATH=WEIGHT`.
///
/// @param path a PEFT directory or a .safetensors file
/// @param weight what its change of the layer is multiplied by; 1 by default
record AdapterReference(Path path, float weight) {
    /// Reads the text of an option. A path that exists wins over the reading as path and weight.
    ///
    /// @throws UsageException if the weight is no finite number
    static AdapterReference parse(String text) {
        int equals = text.lastIndexOf('=');
        if (equals < 0 || Files.exists(Path.of(text))) {
            return new AdapterReference(Path.of(text), 1);
        }
        String number = text.substring(equals + 1);
        try {
            float weight = Float.parseFloat(number);
            if (Float.isFinite(weight)) {
                return new AdapterReference(Path.of(text.substring(0, equals)), weight);
            }
        } catch (NumberFormatException notANumber) {
            // falls through to the message
        }
        throw new UsageException(
                "--adapter " + text + ": expected PATH or PATH=WEIGHT with a finite number, found \"" + number + "\"");
    }
}
