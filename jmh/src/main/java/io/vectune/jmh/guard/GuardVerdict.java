package io.vectune.jmh.guard;

import java.util.Locale;

/// What the guard found out about one entry.
///
/// @param share the guarded metric now
/// @param rate operations a second now
/// @param bytes bytes allocated an operation now
/// @param ratio operations a second over those of the entry it is relative to; NaN where there is none
/// @param problem what is wrong; empty if it passes
public record GuardVerdict(GuardEntry entry, double share, double rate, double bytes, double ratio, String problem) {
    public boolean passed() {
        return problem.isEmpty();
    }

    static GuardVerdict of(GuardEntry entry, Measurement found, double relativeRate, Comparability comparability) {
        double ratio = Double.isNaN(relativeRate) ? Double.NaN : found.rate() / relativeRate;
        String problem = "";
        if (comparability.judgesShare(entry) && !(found.share() >= entry.leastShare())) {
            problem =
                    String.format(
                            Locale.ROOT,
                            "slower: %s is %.1f, recorded %.1f, least %.1f",
                            entry.metric(),
                            found.share(),
                            entry.share(),
                            entry.leastShare());
        }
        if (entry.maxBytes() >= 0 && !(found.bytesPerOperation() <= entry.maxBytes())) {
            problem +=
                    String.format(
                            Locale.ROOT,
                            "%sallocates %.0f bytes an operation, at most %.0f",
                            problem.isEmpty() ? "" : "; ",
                            found.bytesPerOperation(),
                            entry.maxBytes());
        }
        if (comparability.judgesRatios() && !Double.isNaN(ratio) && !(ratio >= entry.minRatio())) {
            problem +=
                    String.format(
                            Locale.ROOT,
                            "%sonly %.2f times the speed of %s, at least %.2f",
                            problem.isEmpty() ? "" : "; ",
                            ratio,
                            entry.relativeTo(),
                            entry.minRatio());
        }
        return new GuardVerdict(entry, found.share(), found.rate(), found.bytesPerOperation(), ratio, problem);
    }
}
