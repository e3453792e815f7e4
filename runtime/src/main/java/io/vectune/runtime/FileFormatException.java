package io.vectune.runtime;

import java.io.Serial;

/// A file whose content is not what its format promises: truncated, overlapping, absurd or contradictory.
public class FileFormatException extends VectuneException {
    @Serial private static final long serialVersionUID = 1L;

    /// @param message one line that starts with the file's name
    public FileFormatException(String message) {
        super(message);
    }

    /// @param message one line that starts with the file's name
    /// @param cause what was caught; shown only when debugging
    public FileFormatException(String message, Throwable cause) {
        super(message, cause);
    }
}
