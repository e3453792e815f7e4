package io.vectune.models.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.models.train.TokenRow;
import io.vectune.quant.QuantizationError;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class CalibrationTest {
    private static final List<TokenRow> ROWS =
            List.of(
                    TokenRow.ofText(5, 17, 40, 8, 99, 3, 21),
                    TokenRow.ofText(2, 60, 61, 62),
                    TokenRow.ofText(9, 9, 9, 30, 31));

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    @Test
    void measuresEveryLayer() {
        DecoderModel model = TestModels.load("llama", arena);
        Map<String, LayerMoments> moments = Calibration.of(model, compute, ROWS, true, done -> {});
        Map<String, LayerMoments> forward = Calibration.of(model, compute, ROWS, false, done -> {});
        for (Linear linear : model.linears()) {
            LayerMoments own = Objects.requireNonNull(moments.get(linear.name()));
            assertThat(own.inputs()).hasSize(linear.weight().inFeatures());
            assertThat(own.outputGradients()).hasSize(linear.weight().outFeatures());
            assertThat(Arrays.stream(own.inputs()).sum()).isPositive().isFinite();
            assertThat(Arrays.stream(own.outputGradients()).sum()).isPositive().isFinite();
            assertThat(Objects.requireNonNull(forward.get(linear.name())).outputGradients()).isEmpty();
        }
        // q, k and v of a block read the same input
        assertThat(Objects.requireNonNull(moments.get("model.layers.0.self_attn.q_proj")).inputs())
                .isEqualTo(Objects.requireNonNull(moments.get("model.layers.0.self_attn.v_proj")).inputs());
    }

    /// The weighted error is the expected squared output error where the inputs are uncorrelated: exact for one that is
    /// alone.
    @Test
    void weighsErrorsByInputsAndOutputs() {
        Tensor dense = Tensor.allocate(arena, DType.F32, 2, 3);
        Tensor other = Tensor.allocate(arena, DType.F32, 2, 3);
        other.setFloat(1, 0.5f);
        other.setFloat(3, -2);
        double[] inputs = {1, 4, 9};
        double[] outputs = {2, 3};
        // (0, 1): 0.5^2 * 4 * 2 = 2; (1, 0): 2^2 * 1 * 3 = 12
        assertThat(QuantizationError.weighted(compute, dense, new DenseWeight(other), inputs, outputs)).isEqualTo(7);
        assertThat(QuantizationError.weighted(compute, dense, new DenseWeight(other), new double[0], new double[0]))
                .isEqualTo(2.125);
    }

    @Test
    void asksForLabels() {
        DecoderModel model = TestModels.load("llama", arena);
        TokenRow unlabelled = new TokenRow(new int[] {1, 2, 3}, new int[] {-100, -100, -100});
        assertThatThrownBy(() -> Calibration.of(model, compute, List.of(unlabelled), true, done -> {}))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("expected at least one labelled token, found none in 1 rows");
    }
}
