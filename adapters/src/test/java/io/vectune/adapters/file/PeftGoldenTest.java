package io.vectune.adapters.file;

import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every adapter that the real peft wrote: read, run, trained and merged here as there.
class PeftGoldenTest {
    private static final Path DATA = Path.of(System.getProperty("vectune.testData"), "adapters");

    static Stream<String> cases() throws IOException {
        try (Stream<Path> files = Files.list(DATA.resolve("adapters"))) {
            return files.map(path -> path.getFileName().toString()).sorted().toList().stream();
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void equalsPeft(String name, @TempDir Path directory) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden =
                    SafetensorsFile.open(DATA.resolve("goldens").resolve(name + ".safetensors"), arena);
            Weight weight = new DenseWeight(golden.tensor(golden.contains("weight.bf16") ? "weight.bf16" : "weight"));
            Matrix bias = golden.contains("bias") ? GoldenRun.row(golden.tensor("bias")) : null;
            LayerSite site = new LayerSite(GoldenRun.MODULE, weight, bias);
            try (AdapterSet set = PeftDirectory.read(DATA.resolve("adapters").resolve(name), List.of(site), compute)) {
                GoldenRun run = new GoldenRun(golden, site, set, compute, arena, PeftGoldenTest::key);
                run.checkForwardAndBackward();
                run.checkMerge();
                run.checkSavedCopy(directory.resolve("copy"));
                run.checkAdamW();
            }
        }
    }

    private static String key(AdapterParameter parameter) {
        return "base_model.model." + GoldenRun.MODULE + "." + Objects.requireNonNull(parameter.stored()).key();
    }
}
