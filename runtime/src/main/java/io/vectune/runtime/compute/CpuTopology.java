package io.vectune.runtime.compute;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/// How many cores there are to use.
public final class CpuTopology {
    private CpuTopology() {}

    /// Physical cores this process may use: the machine's, clamped to what the cgroup and affinity allow. Two hardware
    /// threads of a core share its FMA units, so a second one gains nothing for these kernels. The property
    /// `vectune.threads` overrides it.
    public static int usablePhysicalCores() {
        Integer asked = Integer.getInteger("vectune.threads");
        if (asked != null && asked >= 1) {
            return asked;
        }
        int allowed = Runtime.getRuntime().availableProcessors();
        return Math.max(1, Math.min(allowed, physicalCores(Path.of("/proc/cpuinfo"), allowed)));
    }

    /// Distinct (physical id, core id) pairs of a Linux cpuinfo file; `fallback` where there is none.
    static int physicalCores(Path cpuinfo, int fallback) {
        Set<String> cores = new HashSet<>();
        try {
            String physical = "0";
            for (String line : Files.readAllLines(cpuinfo, StandardCharsets.UTF_8)) {
                int colon = line.indexOf(':');
                if (line.startsWith("physical id") && colon > 0) {
                    physical = line.substring(colon + 1).strip();
                } else if (line.startsWith("core id") && colon > 0) {
                    cores.add(physical + "/" + line.substring(colon + 1).strip());
                }
            }
        } catch (IOException unreadable) {
            return fallback;
        }
        return cores.isEmpty() ? fallback : cores.size();
    }
}
