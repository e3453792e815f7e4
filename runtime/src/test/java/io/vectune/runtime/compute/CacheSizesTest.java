package io.vectune.runtime.compute;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CacheSizesTest {
    private static final CacheSizes UNKNOWN = new CacheSizes(1, 2);

    @TempDir Path cpu;

    @Test
    void countsACoresPartOfSharedCachesAndTheThreadsOfACoreAsOne() throws IOException {
        threads("0,64");
        cache(0, 1, "Data", "48K", "0,64");
        cache(1, 1, "Instruction", "32K", "0,64");
        cache(2, 2, "Unified", "1024K", "0,64");
        cache(3, 3, "Unified", "32M", "0-7,64-71");
        assertThat(CacheSizes.read(cpu, UNKNOWN)).isEqualTo(new CacheSizes(1L << 20, 4L << 20));
    }

    @Test
    void takesTheSecondLevelWhereNothingIsBehindIt() throws IOException {
        threads("0");
        cache(0, 1, "Data", "64K", "0");
        cache(1, 2, "Unified", "4096K", "0-3");
        assertThat(CacheSizes.read(cpu, UNKNOWN)).isEqualTo(new CacheSizes(1L << 20, 1L << 20));
    }

    @Test
    void fallsBackWhereNothingIsTold() throws IOException {
        assertThat(CacheSizes.read(cpu, UNKNOWN)).isEqualTo(UNKNOWN);
        threads("0");
        assertThat(CacheSizes.read(cpu, UNKNOWN)).isEqualTo(UNKNOWN);
        cache(0, 2, "Unified", "", "0");
        assertThat(CacheSizes.read(cpu, UNKNOWN)).isEqualTo(UNKNOWN);
    }

    @Test
    void knowsThisMachineOrASmallOne() {
        CacheSizes sizes = CacheSizes.ofMachine();
        assertThat(sizes.secondLevel()).isPositive();
        assertThat(sizes.lastLevelPerCore()).isGreaterThanOrEqualTo(sizes.secondLevel());
    }

    private void threads(String list) throws IOException {
        write(Files.createDirectories(cpu.resolve("topology")), "thread_siblings_list", list);
    }

    private void cache(int index, int level, String type, String size, String cpus) throws IOException {
        Path cache = Files.createDirectories(cpu.resolve("cache/index" + index));
        write(cache, "level", Integer.toString(level));
        write(cache, "type", type);
        write(cache, "size", size);
        write(cache, "shared_cpu_list", cpus);
    }

    private static void write(Path directory, String name, String text) throws IOException {
        Files.writeString(directory.resolve(name), text + "\n");
    }
}
