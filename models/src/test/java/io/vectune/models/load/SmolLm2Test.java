package io.vectune.models.load;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.generate.GenerationOptions;
import io.vectune.models.generate.TextGeneration;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.file.StrictJson;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import tools.jackson.databind.JsonNode;

/// The real SmolLM2-135M-Instruct against transformers, where its GGUF file is there: it is too large for a repository.
@EnabledIfEnvironmentVariable(named = "VECTUNE_SMOLLM2", matches = ".+")
class SmolLm2Test {
    private static final double RTOL = 1e-4;

    @Test
    void generatesAndEvaluatesAsTransformers() {
        JsonNode golden = StrictJson.readObject(TestModels.data().resolve("smollm2/goldens.json"));
        Path file = Path.of(String.valueOf(System.getenv("VECTUNE_SMOLLM2")));
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.ofPhysicalCores();
                Compute compute = new Compute(team)) {
            LoadedModel loaded = ModelLoader.load(file, arena);
            DecoderModel model = loaded.decoder();
            int[] prompt = ids(golden.get("prompt_ids"));
            List<Integer> expected = new ArrayList<>();
            golden.get("greedy_ids").forEach(id -> expected.add(id.intValue()));
            try (DecoderSession session = new DecoderSession(model, Map.of(), compute, 64)) {
                TextGeneration.Continuation continuation =
                        TextGeneration.run(
                                session, prompt, GenerationOptions.greedy(expected.size(), Set.of()), token -> true);
                assertThat(continuation.tokens()).isEqualTo(expected);
            }
            List<int[]> rows = new ArrayList<>();
            golden.get("tokenizer").get("loss_text_ids").forEach(row -> rows.add(ids(row)));
            SequenceBatch batch = SequenceBatch.of(rows, rows);
            PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
            try (DecoderPass pass = DecoderPass.forEvaluation(model, Map.of(), compute, limits)) {
                double reference = golden.get("loss").doubleValue();
                double loss = pass.loss(batch) / batch.labelledTokens();
                assertThat(Math.abs(loss - reference) / reference).isLessThanOrEqualTo(RTOL);
            }
        }
    }

    private static int[] ids(JsonNode array) {
        int[] ids = new int[array.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = array.get(i).intValue();
        }
        return ids;
    }
}
