package io.vectune.cli;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;

/// The memory that this process may have at most: the machine's, or the container's where that is less.
final class PhysicalMemory {
    private PhysicalMemory() {}

    /// Bytes; `Long.MAX_VALUE` where the system does not tell.
    static long bytes() {
        return ManagementFactory.getOperatingSystemMXBean() instanceof OperatingSystemMXBean system
                ? system.getTotalMemorySize()
                : Long.MAX_VALUE;
    }
}
