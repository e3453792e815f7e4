package io.vectune.jmh.guard;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// The outcome of a run.
///
/// @param verdicts one an entry, in their order
public record GuardReport(List<GuardVerdict> verdicts) {
    public GuardReport {
        verdicts = List.copyOf(verdicts);
    }

    public boolean passed() {
        return verdicts.stream().allMatch(GuardVerdict::passed);
    }

    /// One table for people: share of the limit now and recorded, bytes an operation, ratio, verdict.
    public String table() {
        StringBuilder table = new StringBuilder();
        String line = "%-34s %-16s %8s %9s %9s %7s  %s%n";
        table.append(
                String.format(
                        Locale.ROOT, line, "benchmark", "metric", "now", "recorded", "bytes/op", "ratio", "verdict"));
        for (GuardVerdict verdict : verdicts) {
            GuardEntry entry = verdict.entry();
            table.append(
                    String.format(
                            Locale.ROOT,
                            line,
                            entry.name(),
                            entry.metric(),
                            String.format(Locale.ROOT, "%.1f", verdict.share()),
                            entry.share() == 0 ? "-" : String.format(Locale.ROOT, "%.1f", entry.share()),
                            String.format(Locale.ROOT, "%.0f", verdict.bytes()),
                            Double.isNaN(verdict.ratio()) ? "" : String.format(Locale.ROOT, "%.2f", verdict.ratio()),
                            verdict.passed() ? "ok" : verdict.problem()));
        }
        return table.toString();
    }

    /// One line of JSON for the history: the circumstances and the share of each entry.
    ///
    /// @param circumstances commit, date, machine and the like
    public String historyLine(Map<String, String> circumstances) {
        ObjectNode line = new JsonMapper().createObjectNode();
        circumstances.forEach(line::put);
        ObjectNode shares = line.putObject("shares");
        for (GuardVerdict verdict : verdicts) {
            shares.put(verdict.entry().name(), Math.round(verdict.share() * 10) / 10.0);
        }
        return line.toString();
    }
}
