package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class HqqWeightTest {
    record Shape(String bits, int axis, int group, int rows, int columns, DType type) {}

    /// All widths, both axes, all compute types; sizes that leave rests in every loop, and groups that straddle rows.
    static Stream<Shape> shapes() {
        List<Shape> shapes = new ArrayList<>();
        for (HqqBits bits : HqqBits.values()) {
            for (DType type : List.of(DType.F32, DType.F16, DType.BF16)) {
                String text = bits.text();
                shapes.add(new Shape(text, 1, 64, 48, 192, type));
                shapes.add(new Shape(text, 1, 8, 16, 88, type));
                shapes.add(new Shape(text, 1, 40, 24, 120, type));
                shapes.add(new Shape(text, 1, 64, 64, 24, type));
                shapes.add(new Shape(text, 1, 74, 64, 37, type));
                shapes.add(new Shape(text, 0, 16, 32, 101, type));
                shapes.add(new Shape(text, 0, 64, 64, 33, type));
                shapes.add(new Shape(text, 0, 8, 24, 7, type));
            }
        }
        return shapes.stream();
    }

    private static HqqWeight quantized(Compute compute, Arena arena, Shape shape) {
        Tensor dense = HqqInputs.gaussian(arena, shape.rows, shape.columns, 11, 0.05);
        HqqConfig config = HqqConfig.of(HqqBits.of(shape.bits), shape.group, shape.axis).withComputeDtype(shape.type);
        return HqqQuantizer.quantize(compute, "w", dense, config, arena);
    }

    private static float[] dequantized(HqqWeight weight) {
        float[] values = new float[weight.outFeatures() * weight.inFeatures()];
        new HqqScalarKernels().decode(weight.codes(), 0, values.length, values, 0);
        return values;
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void decodesAnyTileWithTheBitsOfTheScalarTier(Shape shape) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            HqqWeight weight = quantized(compute, arena, shape);
            float[] all = dequantized(weight);
            for (int columnFrom : new int[] {0, 1, 5}) {
                for (int columnTo : new int[] {shape.columns, shape.columns - 1, columnFrom + 1}) {
                    int width = columnTo - columnFrom;
                    float[] tile = new float[(shape.rows - 1) * (width + 3) + 2];
                    weight.decode(1, shape.rows, columnFrom, columnTo, tile, 2, width + 3);
                    for (int row = 1; row < shape.rows; row++) {
                        for (int i = 0; i < width; i++) {
                            assertThat(tile[2 + (row - 1) * (width + 3) + i])
                                    .isEqualTo(all[row * shape.columns + columnFrom + i]);
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void multipliesAsDequantizeThenMultiply(Shape shape) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam one = ThreadTeam.of(1);
                ThreadTeam two = ThreadTeam.of(2);
                Compute serial = new Compute(one);
                Compute parallel = new Compute(two)) {
            HqqWeight weight = quantized(serial, arena, shape);
            float[] dense = dequantized(weight);
            for (int tokens : new int[] {1, 2, 4, 5, 33}) {
                Matrix x = matrix(arena, tokens, shape.columns, 3);
                Matrix g = matrix(arena, tokens, shape.rows, 4);
                Matrix y = Matrix.allocate(arena, tokens, shape.rows);
                Matrix again = Matrix.allocate(arena, tokens, shape.rows);
                Matrix back = Matrix.allocate(arena, tokens, shape.columns);
                MatMul.multiply(serial, weight, x, y, false);
                MatMul.multiply(parallel, weight, x, again, false);
                MatMul.multiplyTransposed(serial, weight, g, back, false);
                assertThat(again.toArray()).isEqualTo(y.toArray());
                double left = 0;
                double right = 0;
                for (int token = 0; token < tokens; token++) {
                    for (int row = 0; row < shape.rows; row++) {
                        double expected = 0;
                        double size = 0;
                        for (int column = 0; column < shape.columns; column++) {
                            double term = (double) dense[row * shape.columns + column] * x.get(token, column);
                            expected += term;
                            size += Math.abs(term);
                        }
                        // each of the sums' roundings is below 2^-24 of the sum of magnitudes so far
                        double bound = shape.columns * 0x1p-24 * size;
                        assertThat(Math.abs(y.get(token, row) - expected)).isLessThanOrEqualTo(bound);
                        left += (double) y.get(token, row) * g.get(token, row);
                    }
                    for (int column = 0; column < shape.columns; column++) {
                        right += (double) back.get(token, column) * x.get(token, column);
                    }
                }
                assertThat(Math.abs(left - right)).isLessThan(1e-5 * Math.sqrt(tokens * shape.rows * shape.columns));
            }
        }
    }

    @Test
    void normsAreThoseOfTheDecodedWeight() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            HqqWeight weight = quantized(compute, arena, new Shape("3", 1, 64, 33, 64, DType.F32));
            float[] dense = dequantized(weight);
            double sum = 0;
            for (int i = 0; i < 64; i++) {
                sum += (double) dense[5 * 64 + i] * dense[5 * 64 + i];
            }
            assertThat(weight.norms().rowSquared()[5]).isEqualTo(sum);
        }
    }

    @Test
    void quantizesWithTheSameBitsByAnyNumberOfThreads() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam one = ThreadTeam.of(1);
                ThreadTeam three = ThreadTeam.of(3);
                Compute serial = new Compute(one);
                Compute parallel = new Compute(three)) {
            Tensor dense = HqqInputs.gaussian(arena, 200, 1024, 5, 0.02);
            for (int axis = 0; axis < 2; axis++) {
                HqqConfig config = HqqConfig.of(HqqBits.FOUR, 64, axis);
                HqqWeight a = HqqQuantizer.quantize(serial, "w", dense, config, arena);
                HqqWeight b = HqqQuantizer.quantize(parallel, "w", dense, config, arena);
                assertThat(b.packed().mismatch(a.packed())).isEqualTo(-1);
                assertThat(b.codes().zeroPoint().mismatch(a.codes().zeroPoint())).isEqualTo(-1);
            }
        }
    }

    @Test
    void namesWhatIsNotFinite() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, 32, 2048, 5, 0.02);
            dense.setFloat(17 * 2048 + 45, Float.NaN);
            dense.setFloat(17 * 2048 + 46, Float.POSITIVE_INFINITY);
            dense.setFloat(20 * 2048, Float.NEGATIVE_INFINITY);
            for (int axis = 0; axis < 2; axis++) {
                HqqConfig config = HqqConfig.of(HqqBits.FOUR, 64, axis);
                assertThatThrownBy(() -> HqqQuantizer.quantize(compute, "mlp.gate_proj.weight", dense, config, arena))
                        .isInstanceOf(VectuneException.class)
                        .hasMessage(
                                "mlp.gate_proj.weight has 3 non-finite values, the first is NaN at [17, 45]; HQQ cannot"
                                        + " quantize it");
            }
        }
    }

    @Test
    void refusesGroupsThatDoNotFit() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, 3, 40, 5, 0.02);
            assertThatThrownBy(
                            () -> HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.EIGHT, 64, 1), arena))
                    .hasMessageStartingWith("w: weight (3, 40): expected a group size that divides its 120 elements");
            assertThatThrownBy(
                            () -> HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.FOUR, 40, 1), arena))
                    .hasMessageContaining("4bit_u8 packs 2 rows of groups together");
        }
    }

    private static Matrix matrix(Arena arena, int rows, int columns, long seed) {
        return Matrix.copyOf(arena, rows, columns, HqqInputs.values(rows, columns, seed, 1.0, "none"));
    }
}
