package io.vectune.adapters.file;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.quant.LoadContext;
import io.vectune.quant.WeightFormats;
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
            Weight weight = base(golden, arena);
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

    // The layer as its format stores it: bf16, or codes that the Python library packed.
    private static Weight base(SafetensorsFile golden, Arena arena) {
        String base = golden.metadata().getOrDefault("base", "f32");
        return switch (base) {
            case "f32" -> new DenseWeight(golden.tensor("weight"));
            case "bf16" -> new DenseWeight(golden.tensor("weight.bf16"));
            default -> {
                Weight packed = WeightFormats.of(golden, base).orElseThrow().load(golden, base, LoadContext.of(arena));
                Matrix decoded = Matrix.allocate(arena, packed.outFeatures(), packed.inFeatures());
                decode(packed, decoded);
                assertThat(decoded.toArray()).containsExactly(golden.tensor("weight").asMatrix().toArray());
                yield packed;
            }
        };
    }

    private static void decode(Weight weight, Matrix decoded) {
        float[] row = new float[weight.inFeatures()];
        for (int o = 0; o < weight.outFeatures(); o++) {
            weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
            for (int i = 0; i < row.length; i++) {
                decoded.set(o, i, row[i]);
            }
        }
    }

    private static String key(AdapterParameter parameter) {
        return "base_model.model." + GoldenRun.MODULE + "." + Objects.requireNonNull(parameter.stored()).key();
    }
}
