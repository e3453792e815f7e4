package io.vectune.jmh.guard;

import io.vectune.jmh.guard.GuardBaseline.Machine;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.compute.ProcessorName;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/// The guard as a program: `GuardMain [--record] [--only REGEX] BASELINE.json [HISTORY.jsonl]`.
///
/// Checks the entries of a baseline, or with `--record` measures them and writes their shares into the file, for
/// review. Exit code 0 if all entries pass, 1 if one does not, 2 for wrong usage. A history gets a line a run, and a
/// plot beside it (`.svg`).
public final class GuardMain {
    private static final int RECORDED_ROUNDS = 3;

    private GuardMain() {}

    public static void main(String[] arguments) throws IOException {
        boolean record = false;
        Pattern only = Pattern.compile("");
        List<Path> files = new ArrayList<>();
        try {
            for (int at = 0; at < arguments.length; at++) {
                switch (arguments[at]) {
                    case "--record" -> record = true;
                    case "--only" -> {
                        at++;
                        only = Pattern.compile(at < arguments.length ? arguments[at] : "");
                    }
                    default -> files.add(Path.of(arguments[at]));
                }
            }
        } catch (PatternSyntaxException unfit) {
            System.err.println("guard: --only: expected a regular expression, found " + unfit.getMessage());
            System.exit(2);
        }
        if (files.isEmpty() || files.size() > 2) {
            System.err.println(
                    "guard: expected [--record] [--only REGEX] BASELINE.json [HISTORY.jsonl], found "
                            + files.size()
                            + " files");
            System.exit(2);
        }
        try {
            @Nullable Path history = files.size() == 2 ? files.get(1) : null;
            boolean passed = run(files.getFirst(), only, record, history, System.out);
            System.exit(passed ? 0 : 1);
        } catch (VectuneException refused) {
            System.err.println("guard: " + refused.getMessage());
            System.exit(1);
        }
    }

    private static boolean run(Path baseline, Pattern only, boolean record, @Nullable Path history, PrintStream out)
            throws IOException {
        long start = System.nanoTime();
        Machine here = Machine.here();
        GuardBaseline entries = GuardBaseline.read(baseline, here).only(only);
        Comparability comparability = record ? Comparability.EVERYTHING : Comparability.of(entries.machine(), here);
        if (comparability != Comparability.EVERYTHING) {
            out.printf(
                    Locale.ROOT,
                    "guard: recorded on %s, this is %s: %s%n",
                    entries.machine(),
                    here,
                    comparability.meaning());
        }
        Guard guard = new Guard(new JmhRunner(700, 100), comparability, line -> out.println("guard: " + line));
        GuardReport report;
        if (record) {
            Map<String, Measurement> found = guard.measure(entries, RECORDED_ROUNDS);
            GuardBaseline.record(baseline, found, here, circumstances());
            report = guard.judge(GuardBaseline.read(baseline, here).only(only), found);
        } else {
            report = guard.check(entries);
        }
        out.print(report.table());
        if (history != null) {
            GuardHistory trend = new GuardHistory(history);
            trend.append(report.historyLine(circumstances()));
            Files.writeString(trend.plotFile(), trend.plot(), StandardCharsets.UTF_8);
        }
        out.printf(
                Locale.ROOT,
                "guard: %d benchmarks, %s, %d s%n",
                report.verdicts().size(),
                report.passed() ? "all as recorded" : "slower or allocating, see the table",
                Duration.ofNanos(System.nanoTime() - start).toSeconds());
        return report.passed();
    }

    private static Map<String, String> circumstances() {
        Map<String, String> found = new LinkedHashMap<>();
        found.put("date", Instant.now().toString());
        found.put("commit", commit());
        found.put("jdk", Runtime.version().toString());
        found.put("processor", ProcessorName.current());
        found.put("cores", Integer.toString(Runtime.getRuntime().availableProcessors()));
        found.put("kernels", KernelTier.choice().reason());
        return found;
    }

    /// The commit that is checked out; empty outside a repository.
    private static String commit() {
        try {
            Process git =
                    new ProcessBuilder("git", "rev-parse", "--short=10", "HEAD")
                            .redirectError(ProcessBuilder.Redirect.DISCARD)
                            .start();
            return new String(git.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        } catch (IOException absent) {
            return "";
        }
    }
}
