package io.vectune.cli;

import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/// How failures reach the user: one line on stderr and the right exit code; a stack trace only with `--debug`.
final class Failures {
    private Failures() {}

    /// Wrong options: the message, the nearest matches, where to read more.
    static int wrongUsage(ParameterException failure, String[] arguments) {
        CommandLine command = failure.getCommandLine();
        PrintWriter err = command.getErr();
        err.println("vectune: " + oneLine(String.valueOf(failure.getMessage())));
        UnmatchedArgumentException.printSuggestions(failure, err);
        err.println("See: " + command.getCommandSpec().qualifiedName() + " --help");
        return Vectune.USAGE;
    }

    /// A failure while a command ran.
    static int failed(Exception failure, CommandLine command, boolean debug) {
        PrintWriter err = command.getErr();
        if (debug) {
            failure.printStackTrace(err);
        }
        err.println("vectune: " + oneLine(describe(failure)));
        err.flush();
        return failure instanceof UsageException ? Vectune.USAGE : Vectune.FAILURE;
    }

    /// What no command expects: a stack that is too small, a class that is missing or cannot start.
    static int broken(Error failure, PrintWriter err, boolean debug) {
        if (debug) {
            failure.printStackTrace(err);
        }
        Throwable cause = failure.getCause();
        Throwable reason = failure instanceof ExceptionInInitializerError && cause != null ? cause : failure;
        err.println("vectune: " + oneLine(describe(reason)));
        err.flush();
        return Vectune.FAILURE;
    }

    private static String describe(Throwable failure) {
        String message = String.valueOf(failure.getMessage());
        return switch (failure) {
            case VectuneException known -> message;
            case NoSuchFileException missing -> missing.getFile() + ": no such file or directory";
            case AccessDeniedException denied -> denied.getFile() + ": permission denied";
            case FileAlreadyExistsException present ->
                    present.getFile() + ": already exists; use --force to replace it";
            case FileSystemException file -> file.getFile() + ": " + file.getReason();
            case IOException io -> "input or output failed: " + message;
            case IllegalArgumentException argument -> message;
            default ->
                    "unexpected "
                            + failure.getClass().getSimpleName()
                            + ": "
                            + message
                            + "; run again with --debug for the stack trace";
        };
    }

    private static String oneLine(String message) {
        return message.replaceAll("\\s*\\R\\s*", " ");
    }
}
