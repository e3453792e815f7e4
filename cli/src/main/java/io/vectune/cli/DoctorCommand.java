package io.vectune.cli;

import io.vectune.runtime.compute.CpuTopology;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.compute.MachineLimits;
import io.vectune.runtime.compute.ProcessorName;
import io.vectune.runtime.compute.ThreadTeam;
import java.io.PrintWriter;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/// `vectune doctor`: what this machine is and what the program makes of it.
@Command(
        name = "doctor",
        description = "Show the machine, the JDK and the kernel tier, and measure the machine's limits.")
final class DoctorCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        KernelTier.Choice choice = KernelTier.choice();
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("version", Version.number());
        report.put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
        report.put("jdk", System.getProperty("java.vendor") + " " + Runtime.version());
        report.put("processor", ProcessorName.current());
        report.put("cores", CpuTopology.usablePhysicalCores());
        report.put("tier", choice.tier().name().toLowerCase(Locale.ROOT));
        report.put("vector_bits", choice.vectorBits());
        report.put("tier_reason", choice.reason());
        try (ThreadTeam team = ThreadTeam.ofPhysicalCores()) {
            MachineLimits limits = MachineLimits.measure(team);
            report.put("fma_peak_gflops_one_thread", round(limits.fmaOneThread()));
            report.put("fma_peak_gflops", round(limits.fmaAllThreads()));
            report.put("memory_read_gb_per_s_one_thread", round(limits.readOneThread()));
            report.put("memory_read_gb_per_s", round(limits.readAllThreads()));
            report.put("memory_write_gb_per_s", round(limits.writeAllThreads()));
        }
        PrintWriter out = spec.commandLine().getOut();
        if (json.isOn()) {
            JsonOutput.print(out, report);
        } else {
            report.forEach((key, value) -> out.printf(Locale.ROOT, "%-34s %s%n", key.replace('_', ' '), value));
            out.flush();
        }
        if (choice.tier() == KernelTier.SCALAR && !choice.fallback()) {
            spec.commandLine().getErr().println("warning: the slow scalar tier is in use: " + choice.reason());
        }
        return 0;
    }

    private static double round(double value) {
        return Math.rint(10 * value) / 10;
    }
}
