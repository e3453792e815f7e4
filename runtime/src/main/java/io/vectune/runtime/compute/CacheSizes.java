package io.vectune.runtime.compute;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// The caches that a core works with, in bytes, as the operating system tells them. A cache that several cores share
/// counts by a core's part of it; the hardware threads of one core count as one.
///
/// @param secondLevel of a core
/// @param lastLevelPerCore of the largest cache; as `secondLevel` where there is none behind it
public record CacheSizes(long secondLevel, long lastLevelPerCore) {
    private static final Path FIRST_CORE = Path.of("/sys/devices/system/cpu/cpu0");

    /// Where nothing is told: the smallest caches of server and desktop processors of the last ten years.
    private static final CacheSizes UNKNOWN = new CacheSizes(512L << 10, 1L << 20);

    /// The caches of the first core, or of a small processor where the system does not tell.
    public static CacheSizes ofMachine() {
        return read(FIRST_CORE, UNKNOWN);
    }

    /// The caches that a directory of the form of Linux's /sys/devices/system/cpu/cpu0 describes.
    static CacheSizes read(Path directory, CacheSizes unknown) {
        long second = 0;
        long last = 0;
        int lastLevel = 0;
        try {
            int threads = count(text(directory.resolve("topology"), "thread_siblings_list"));
            for (int index = 0; Files.isDirectory(directory.resolve("cache/index" + index)); index++) {
                Path cache = directory.resolve("cache/index" + index);
                if (text(cache, "type").equals("Instruction")) {
                    continue;
                }
                int level = Integer.parseInt(text(cache, "level"));
                long part = bytes(text(cache, "size")) * threads / count(text(cache, "shared_cpu_list"));
                if (level == 2) {
                    second = part;
                }
                if (level > lastLevel) {
                    lastLevel = level;
                    last = part;
                }
            }
        } catch (IOException | NumberFormatException untold) {
            return unknown;
        }
        if (second <= 0 || last <= 0) {
            return unknown;
        }
        return new CacheSizes(second, Math.max(second, last));
    }

    private static String text(Path cache, String name) throws IOException {
        return Files.readString(cache.resolve(name), StandardCharsets.US_ASCII).strip();
    }

    /// A size as 48K or 32M.
    private static long bytes(String size) {
        String upper = size.toUpperCase(Locale.ROOT);
        long unit = upper.endsWith("K") ? 1 << 10 : upper.endsWith("M") ? 1 << 20 : 1;
        return unit * Long.parseLong(unit == 1 ? upper : upper.substring(0, upper.length() - 1));
    }

    /// How many a list as 0-3,8,10-11 names.
    private static int count(String list) {
        int count = 0;
        for (String range : list.split(",", -1)) {
            int dash = range.indexOf('-');
            count +=
                    dash < 0
                            ? 1
                            : Integer.parseInt(range.substring(dash + 1))
                                    - Integer.parseInt(range.substring(0, dash))
                                    + 1;
        }
        return count;
    }
}
