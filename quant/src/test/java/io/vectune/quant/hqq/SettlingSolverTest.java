package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// All steps of a chunk at once find the levels that one pass over all weights a step finds.
class SettlingSolverTest {
    /// Shapes of whole and of begun units and blocks of the sum of errors; groups of one row, of a unit, across units
    /// and blocks; solvers that stop early (1 bit); errors that the shrinkage leaves (sigma 1), with a growing beta as
    /// well.
    @ParameterizedTest
    @CsvSource({
        "64, 256, 64, 4, 0.02, none, false",
        "128, 512, 64, 1, 0.02, none, false",
        "33, 96, 32, 3, 0.02, none, false",
        "31, 96, 96, 8, 0.02, none, true",
        "40, 1024, 512, 2, 0.05, outliers, false",
        "24, 1536, 1536, 4, 0.02, none, false",
        "10, 11008, 11008, 4, 0.02, none, false",
        "2, 32, 32, 4, 0.02, none, false",
        "96, 256, 64, 1, 1, none, false",
        "96, 256, 64, 2, 1, none, true",
        "64, 512, 128, 2, 0.1, outliers, false",
        "64, 512, 128, 4, 0.02, outliers, true",
        "16, 64, 64, 4, 1e-40, none, false",
        "32, 64, 32, 2, 0.02, constant, false"
    })
    void findsWhatPassesFind(
            int rows, int columns, int groupSize, String bits, double sigma, String special, boolean kappaSchedule) {
        float[] values = HqqInputs.values(rows, columns, 5, sigma, special);
        HqqConfig config = HqqConfig.of(HqqBits.of(bits), groupSize, 1);
        HqqGeometry geometry = config.geometry(rows, columns);
        assertThat(SettlingSolver.fits(geometry)).isTrue();
        for (int threads = 1; threads <= 2; threads++) {
            try (Arena arena = Arena.ofShared();
                    ThreadTeam team = ThreadTeam.of(threads);
                    Compute compute = new Compute(team)) {
                Tensor weights = HqqInputs.tensor(arena, DType.F32, rows, columns, values);
                HqqSolver passes = solver(compute, weights, geometry, config);
                assertThat(passes.start(false)).isTrue();
                passes.solveByPasses(kappaSchedule);
                HqqSolver chunks = solver(compute, weights, geometry, config);
                assertThat(chunks.solve(false, kappaSchedule)).isTrue();
                assertThat(chunks.levels().inverse()).isEqualTo(passes.levels().inverse());
                assertThat(chunks.levels().zero()).isEqualTo(passes.levels().zero());
            }
        }
    }

    private static HqqSolver solver(Compute compute, Tensor weights, HqqGeometry geometry, HqqConfig config) {
        return new HqqSolver(compute, weights.segment(), geometry, config.bits().maxCode());
    }
}
