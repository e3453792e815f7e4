package io.vectune.cli;

import io.vectune.runtime.compute.CpuTopology;
import io.vectune.runtime.compute.KernelTier;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune doctor`: what this machine is and what the program makes of it.
@Command(
        name = "doctor",
        description = "Show the machine, the JDK and the kernel tier, and measure the machine's limits.")
final class DoctorCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(names = "--json", description = "Print one JSON object.")
    private boolean json;

    @Override
    public Integer call() {
        KernelTier.Choice choice = KernelTier.choice();
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("version", Version.number());
        report.put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
        report.put("jdk", System.getProperty("java.vendor") + " " + Runtime.version());
        report.put("cores", CpuTopology.usablePhysicalCores());
        report.put("tier", choice.tier().name().toLowerCase(Locale.ROOT));
        report.put("vector_bits", choice.vectorBits());
        report.put("tier_reason", choice.reason());
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            JsonOutput.print(out, report);
        } else {
            report.forEach((key, value) -> out.printf(Locale.ROOT, "%-16s %s%n", key.replace('_', ' '), value));
            out.flush();
        }
        return 0;
    }
}
