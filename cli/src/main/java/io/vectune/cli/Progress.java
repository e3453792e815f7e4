package io.vectune.cli;

import java.io.PrintWriter;
import java.time.Duration;
import java.util.Locale;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/// Progress of long work on stderr, with rate and remaining time: a bar on a terminal, a plain line every few seconds
/// otherwise.
abstract class Progress implements AutoCloseable {
    /// Starts showing progress.
    ///
    /// @param err where to
    /// @param task what is done, one or two words
    /// @param total units in all
    /// @param unit the name of a unit, in the plural
    static Progress start(PrintWriter err, String task, long total, String unit) {
        return onTerminal() ? new Bar(task, total, unit) : new Lines(err, task, total, unit);
    }

    /// Whether a person watches.
    @SuppressWarnings("SystemConsoleNull") // its contract still allows null
    static boolean onTerminal() {
        var console = System.console();
        return console != null && console.isTerminal();
    }

    /// Says how far the work is.
    ///
    /// @param done units finished
    /// @param note a few words to show beside it, such as the loss
    abstract void at(long done, String note);

    @Override
    public abstract void close();

    private static final class Bar extends Progress {
        private final ProgressBar bar;

        Bar(String task, long total, String unit) {
            bar =
                    new ProgressBarBuilder()
                            .setTaskName(task)
                            .setInitialMax(total)
                            .setUnit(" " + unit, 1)
                            .setStyle(ProgressBarStyle.ASCII)
                            .setUpdateIntervalMillis(200)
                            .showSpeed()
                            .setConsumer(new ConsoleProgressBarConsumer(System.err))
                            .build();
        }

        @Override
        void at(long done, String note) {
            bar.stepTo(done);
            bar.setExtraMessage(note);
        }

        @Override
        public void close() {
            bar.close();
        }
    }

    private static final class Lines extends Progress {
        private static final long INTERVAL_NANOS = Duration.ofSeconds(5).toNanos();

        private final PrintWriter err;
        private final String task;
        private final long total;
        private final String unit;
        private final long startNanos = System.nanoTime();
        private long lastNanos = startNanos;

        Lines(PrintWriter err, String task, long total, String unit) {
            this.err = err;
            this.task = task;
            this.total = total;
            this.unit = unit;
        }

        @Override
        void at(long done, String note) {
            long now = System.nanoTime();
            if (now - lastNanos < INTERVAL_NANOS && done < total) {
                return;
            }
            lastNanos = now;
            double seconds = (now - startNanos) * 1e-9;
            double rate = done / seconds;
            err.printf(
                    Locale.ROOT,
                    "%s: %d of %d %s, %.1f %s/s, %s left%s%n",
                    task,
                    done,
                    total,
                    unit,
                    rate,
                    unit,
                    rate > 0 ? duration((total - done) / rate) : "?",
                    note.isEmpty() ? "" : ", " + note);
            err.flush();
        }

        @Override
        public void close() {}
    }

    /// A length of time for people: `8 s`, `3 min 20 s`, `2 h 5 min`.
    static String duration(double seconds) {
        long whole = Math.round(seconds);
        if (whole < 60) {
            return (seconds < 10 ? String.format(Locale.ROOT, "%.1f", seconds) : Long.toString(whole)) + " s";
        }
        return whole < 3600
                ? whole / 60 + " min " + whole % 60 + " s"
                : whole / 3600 + " h " + whole % 3600 / 60 + " min";
    }

    /// A size for people: `1.9 MB`, `512 KB`.
    static String bytes(long bytes) {
        String[] units = {"B", "KB", "MB", "GB", "TB"};
        int unit = 0;
        double value = (double) bytes;
        while (value >= 1000 && unit < units.length - 1) {
            value /= 1000;
            unit++;
        }
        return unit == 0
                ? String.format(Locale.ROOT, "%.0f B", value)
                : String.format(Locale.ROOT, value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
    }
}
