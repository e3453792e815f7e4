package io.vectune.runtime.compute;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// What the system calls the processor. Shares of a machine's limits are compared only between processors of one name:
/// another one has other ratios of arithmetic to caches to memory.
public final class ProcessorName {
    private ProcessorName() {}

    /// Name, family and model of the first processor, as `AMD EPYC (family 26, model 2)`; the architecture where the
    /// system has no Linux cpuinfo.
    public static String current() {
        return of(Path.of("/proc/cpuinfo"), System.getProperty("os.arch", "unknown"));
    }

    /// The name that a cpuinfo file gives; `fallback` where there is none.
    static String of(Path cpuinfo, String fallback) {
        Map<String, String> fields = new HashMap<>();
        try {
            for (String line : Files.readAllLines(cpuinfo, StandardCharsets.UTF_8)) {
                int colon = line.indexOf(':');
                if (colon > 0) {
                    fields.putIfAbsent(line.substring(0, colon).strip(), line.substring(colon + 1).strip());
                }
            }
        } catch (IOException unreadable) {
            return fallback;
        }
        String name = fields.getOrDefault("model name", fallback);
        List<String> details = new ArrayList<>();
        if (fields.containsKey("cpu family")) {
            details.add("family " + fields.get("cpu family"));
        }
        if (fields.containsKey("model")) {
            details.add("model " + fields.get("model"));
        }
        return details.isEmpty() ? name : name + " (" + String.join(", ", details) + ")";
    }
}
