package io.vectune.jmh.guard;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.KernelTier;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The guard as a program: `GuardMain BASELINE.json [HISTORY.jsonl]`. Exit code 0 if all entries pass, 1 if one does
/// not, 2 for wrong usage. With a history, adds a line to it and draws the plot beside it (`.svg`).
public final class GuardMain {
    private GuardMain() {}

    public static void main(String[] arguments) throws IOException {
        if (arguments.length < 1 || arguments.length > 2) {
            System.err.println(
                    "guard: expected BASELINE.json [HISTORY.jsonl], found " + arguments.length + " arguments");
            System.exit(2);
        }
        try {
            boolean passed =
                    run(Path.of(arguments[0]), arguments.length == 2 ? Path.of(arguments[1]) : null, System.out);
            System.exit(passed ? 0 : 1);
        } catch (VectuneException refused) {
            System.err.println("guard: " + refused.getMessage());
            System.exit(1);
        }
    }

    /// Runs a baseline and prints the table.
    public static boolean run(Path baseline, @Nullable Path history, PrintStream out) throws IOException {
        GuardBaseline entries = GuardBaseline.read(baseline);
        Guard guard = new Guard(new JmhRunner(800, 300), name -> out.println("guard: " + name));
        GuardReport report = guard.check(entries);
        out.print(report.table());
        if (history != null) {
            GuardHistory trend = new GuardHistory(history);
            trend.append(report.historyLine(circumstances()));
            Files.writeString(Path.of(history + ".svg"), trend.plot(), StandardCharsets.UTF_8);
        }
        return report.passed();
    }

    private static Map<String, String> circumstances() {
        Map<String, String> found = new LinkedHashMap<>();
        found.put("date", Instant.now().toString());
        found.put("commit", System.getProperty("vectune.commit", System.getenv().getOrDefault("GITHUB_SHA", "")));
        found.put("jdk", Runtime.version().toString());
        found.put("cores", Integer.toString(Runtime.getRuntime().availableProcessors()));
        found.put("kernels", KernelTier.choice().reason());
        return found;
    }
}
