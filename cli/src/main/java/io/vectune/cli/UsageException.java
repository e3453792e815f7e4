package io.vectune.cli;

import io.vectune.runtime.VectuneException;
import java.io.Serial;

/// Options that do not fit together or have no meaning: exit code 2.
final class UsageException extends VectuneException {
    @Serial private static final long serialVersionUID = 1L;

    UsageException(String message) {
        super(message);
    }
}
