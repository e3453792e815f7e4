package io.vectune.runtime;

import java.io.Serial;

/// A failure that a user can act on. The message is one line: the file, tensor or option, what was expected, what was
/// found, what to do. Programs show the message and no stack trace.
public class VectuneException extends RuntimeException {
    @Serial private static final long serialVersionUID = 1L;

    /// @param message one line for the user
    public VectuneException(String message) {
        super(message);
    }

    /// @param message one line for the user
    /// @param cause what was caught; shown only when debugging
    public VectuneException(String message, Throwable cause) {
        super(message, cause);
    }
}
