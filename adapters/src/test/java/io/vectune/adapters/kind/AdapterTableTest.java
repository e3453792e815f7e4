package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/// The table of adapters in the README: each cell follows from goldens and from cases of tests.
class AdapterTableTest {
    private static final Path DATA = Path.of(System.getProperty("vectune.testData"));

    private static List<String> names(String directory) throws IOException {
        try (Stream<Path> files = Files.list(DATA.resolve(directory))) {
            return files.map(path -> path.getFileName().toString().replaceFirst("[.].*", "")).distinct().toList();
        }
    }

    private static String cell(boolean backed) {
        return backed ? "yes" : "-";
    }

    private static boolean has(List<String> names, String kind, String base) {
        return names.stream()
                .anyMatch(name -> name.equals(kind + base) || (name.startsWith(kind + "-") && name.endsWith(base)));
    }

    @Test
    void everyCellIsBacked() throws IOException {
        List<String> peft = names("adapters/goldens");
        List<String> lite = names("adapters/lora-lite");
        List<String> everyBase =
                EveryBaseTest.cases().map(arguments -> arguments.get()[0] + " on " + arguments.get()[1]).toList();
        List<String> everyKind = EveryKindTest.cases().map(EveryKindTest.Case::kind).toList();
        List<String> expected = new ArrayList<>();
        for (AdapterKind kind : AdapterKinds.ALL) {
            if (EveryKindTest.hasOwnTests(kind)) {
                continue;
            }
            String name = kind.name();
            boolean golden = has(peft, name, "") || has(lite, name, "");
            List<String> cells = new ArrayList<>(List.of(name, cell(golden), cell(golden), cell(golden)));
            cells.add(cell(has(peft, name, "")));
            cells.add(cell(has(lite, name, "")));
            cells.add(cell(golden));
            cells.add(cell(has(peft, name, "-hqq") || everyBase.contains(name + " on hqq")));
            cells.add(cell(has(peft, name, "-nf4") || everyBase.contains(name + " on nf4")));
            cells.add(cell(everyBase.contains(name + " on int8")));
            cells.add(cell(everyKind.contains(name)));
            expected.add("| " + String.join(" | ", cells) + " |");
        }
        // Norms and embeddings are checked in whole models.
        assertThat(names("peft/adapters")).contains("llama-ln", "qwen3-tokens", "tiny-llama-tokens");
        for (String name : List.of("ln_tuning", "trainable_tokens")) {
            String mixed = cell(EveryMixTest.OTHER_PARTS.contains(name));
            expected.add("| " + name + " | yes | yes | yes | yes | - | yes | yes | yes | yes | " + mixed + " |");
        }
        assertThat(Files.readAllLines(DATA.resolveSibling("README.md"))).containsAll(expected);
    }
}
