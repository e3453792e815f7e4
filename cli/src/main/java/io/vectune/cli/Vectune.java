package io.vectune.cli;

import io.vectune.runtime.compute.KernelTier;
import java.io.PrintWriter;
import java.lang.ref.Reference;
import java.nio.charset.StandardCharsets;
import java.util.logging.Level;
import java.util.logging.Logger;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.RunLast;
import picocli.CommandLine.ScopeType;

/// The `vectune` command. Results go to stdout, everything else to stderr; exit code 0 for success, 1 for a failure, 2
/// for wrong usage.
@Command(
        name = "vectune",
        mixinStandardHelpOptions = true,
        scope = ScopeType.INHERIT,
        versionProvider = Version.class,
        description = "Quantized inference and adapter tuning on the CPU, in pure Java.",
        synopsisSubcommandLabel = "COMMAND",
        usageHelpAutoWidth = true,
        sortOptions = false,
        subcommands = {
            QuickstartCommand.class,
            DoctorCommand.class,
            InfoCommand.class,
            QuantizeCommand.class,
            DequantizeCommand.class,
            MergeCommand.class,
            ConvertCommand.class,
            LogitsCommand.class,
            EvalCommand.class,
            TuneCommand.class,
            GenerateCommand.class,
            BenchCommand.class,
            FluxCommand.class,
            HelpCommand.class
        })
public final class Vectune {
    /// Exit code for a failure: a file, the data, the machine.
    static final int FAILURE = 1;

    /// Exit code for wrong usage: options.
    static final int USAGE = 2;

    @Option(names = "--debug", scope = ScopeType.INHERIT, description = "Show the stack trace of a failure.")
    private boolean debug;

    private Vectune() {}

    /// Runs a command and exits with its code.
    public static void main(String[] arguments) {
        System.exit(run(arguments));
    }

    private static int run(String... arguments) {
        Vectune vectune = new Vectune();
        try {
            return commandLine(vectune).execute(arguments);
        } catch (OutOfMemoryError exhausted) {
            System.err.println(
                    "vectune: out of memory ("
                            + exhausted.getMessage()
                            + "); ask for less (--max-tokens, --context, --rank, --batch-size, --threads), or give the JVM more"
                            + " (VECTUNE_JAVA_OPTS=-Xmx...)");
            return FAILURE;
        } catch (Error broken) {
            return Failures.broken(broken, new PrintWriter(System.err, true, StandardCharsets.UTF_8), vectune.debug);
        }
    }

    /// The command line, ready to execute; tests use it as the program does.
    static CommandLine commandLine() {
        return commandLine(new Vectune());
    }

    private static CommandLine commandLine(Vectune vectune) {
        CommandLine line = new CommandLine(vectune);
        line.setOut(new PrintWriter(System.out, true, StandardCharsets.UTF_8));
        line.setErr(new PrintWriter(System.err, true, StandardCharsets.UTF_8));
        line.setCaseInsensitiveEnumValuesAllowed(true);
        line.setExecutionStrategy(Vectune::execute);
        line.setParameterExceptionHandler(Failures::wrongUsage);
        line.setExecutionExceptionHandler(
                (failure, command, parsed) -> Failures.failed(failure, command, vectune.debug));
        return line;
    }

    private static int execute(ParseResult parsed) {
        Integer helped = CommandLine.executeHelpRequest(parsed);
        if (helped != null) {
            return helped;
        }
        warnOfSlowKernels(parsed.commandSpec().commandLine());
        return new RunLast().execute(parsed);
    }

    /// @throws ParameterException if the properties of the kernels make no sense
    private static void warnOfSlowKernels(CommandLine line) {
        KernelTier.Choice choice;
        if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty()) {
            // The library warns of the same, for those who have no stderr of this program.
            Logger library = Logger.getLogger(KernelTier.class.getPackageName());
            try {
                library.setLevel(Level.OFF);
                choice = choice(line);
            } finally {
                Reference.reachabilityFence(library);
            }
        } else {
            choice = choice(line);
        }
        if (choice.fallback()) {
            line.getErr().println("warning: the slow scalar tier is in use: " + choice.reason());
        }
    }

    private static KernelTier.Choice choice(CommandLine line) {
        try {
            return KernelTier.choice();
        } catch (ExceptionInInitializerError unusable) {
            Throwable cause = unusable.getCause();
            throw new ParameterException(line, String.valueOf(cause == null ? unusable : cause.getMessage()));
        }
    }
}
