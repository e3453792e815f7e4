package io.vectune.models.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.calibration.Eva;
import io.vectune.adapters.calibration.InputRecorder;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;

/// EVA's directions and ranks beside those that the real peft found on the same tokens.
///
/// peft stops its incremental, randomized search when directions stop turning, so its subspaces only roughly span the
/// exact ones: the exact ones must hold at least as much of the inputs' variation, and ranks may differ by little.
class EvaGoldenTest {
    private static final String PREFIX = "directions.";

    @Test
    void explainsAtLeastAsMuchAsPeft() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            TensorSource golden = TestModels.golden("adapters/combinations/eva.safetensors", arena);
            DecoderModel model = TestModels.load("llama", arena);
            List<TokenRow> rows = rows(golden);
            AdapterConfig config =
                    AdapterConfig.of(
                            "eva",
                            Map.of(
                                    "r",
                                    4,
                                    "lora_alpha",
                                    4,
                                    "target_modules",
                                    List.of("q_proj", "v_proj", "o_proj", "down_proj")));
            CalibratedStart start = new CalibratedStart(rows, List.of(), Map.of(), Eva.Options.DEFAULT, 1);
            List<LayerSite> sites = config.select(model.sites(), true);
            Map<String, Matrix> inputs = inputs(model, sites, rows, compute);
            try (AdapterSet set = start.create(config, model, compute, 1, done -> {})) {
                int ours = 0;
                int theirs = 0;
                int moved = 0;
                for (LayerSite site : sites) {
                    Matrix expected =
                            golden.contains(PREFIX + site.name())
                                    ? matrix(golden.tensor(PREFIX + site.name()), arena)
                                    : Matrix.allocate(arena, 0, site.weight().inFeatures());
                    Matrix found =
                            set.adapter(site.name()) == null
                                    ? Matrix.allocate(arena, 0, site.weight().inFeatures())
                                    : Objects.requireNonNull(set.adapter(site.name())).parameters().getFirst().values();
                    ours += found.rows();
                    theirs += expected.rows();
                    moved += Math.abs(found.rows() - expected.rows());
                    int common = Math.min(found.rows(), expected.rows());
                    Matrix x = Objects.requireNonNull(inputs.get(site.name()));
                    double best = variation(x, found.rows(0, common));
                    double other = variation(x, expected.rows(0, common));
                    assertThat(best).as(site.name()).isGreaterThanOrEqualTo(other * (1 - 1e-5));
                    assertThat(other).as(site.name()).isGreaterThanOrEqualTo(best * 0.9);
                }
                assertThat(ours).isEqualTo(4 * sites.size());
                assertThat(theirs).isEqualTo(ours);
                assertThat(moved).isLessThanOrEqualTo(ours / 4);
            }
        }
    }

    private static Matrix matrix(Tensor stored, Arena arena) {
        int columns = Math.toIntExact(stored.size(1));
        Matrix matrix = Matrix.allocate(arena, Math.toIntExact(stored.size(0)), columns);
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, stored.getFloat((long) row * columns + column));
            }
        }
        return matrix;
    }

    private static List<TokenRow> rows(TensorSource golden) {
        int[] ids = TestModels.ids(golden, "ids");
        int length = Math.toIntExact(golden.tensor("ids").size(1));
        List<TokenRow> rows = new ArrayList<>();
        for (int from = 0; from < ids.length; from += length) {
            rows.add(TokenRow.ofText(Arrays.copyOfRange(ids, from, from + length)));
        }
        return rows;
    }

    // All inputs of the layers, kept whole.
    private static Map<String, Matrix> inputs(
            DecoderModel model, List<LayerSite> sites, List<TokenRow> rows, Compute compute) {
        int tokens = rows.stream().mapToInt(row -> row.ids().length).sum();
        RowBatches batches = RowBatches.of(rows);
        // The recorder's memory lives as long as the test's process.
        InputRecorder recorder = new InputRecorder(sites, false, tokens, 1);
        try (DecoderPass pass =
                DecoderPass.forEvaluation(model, recorder.adapters().adapters(), compute, batches.limits())) {
            for (List<TokenRow> group : batches.groups()) {
                pass.observe(RowBatches.batch(group));
            }
        }
        return recorder.samples();
    }

    // The variation of the centered inputs inside the span of orthonormal rows.
    private static double variation(Matrix x, Matrix directions) {
        double total = 0;
        for (int k = 0; k < directions.rows(); k++) {
            double sum = 0;
            double square = 0;
            for (int t = 0; t < x.rows(); t++) {
                double dot = 0;
                for (int i = 0; i < x.columns(); i++) {
                    dot += (double) x.get(t, i) * directions.get(k, i);
                }
                sum += dot;
                square += dot * dot;
            }
            total += square - sum * sum / x.rows();
        }
        return total;
    }
}
