package io.vectune.quant.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A block weight multiplies as the f32 weight that it decodes to, bit for bit: a product cuts long blocks at their
/// ends, an f32 weight elsewhere.
class GgufProductTest {
    private static final int TOKENS = 70;
    private static final int OUT = 300;

    @ParameterizedTest
    @CsvSource({
        "Q4_K, 256, 1",
        "Q4_K, 768, 1",
        "Q4_K, 2304, 1",
        "Q4_K, 2304, 2",
        "Q6_K, 1280, 2",
        "Q4_0, 1280, 2",
        "Q4_K, 768, 3"
    })
    void multipliesAsTheWeightItDecodesTo(GgufType type, int inFeatures, int threads) {
        try (Arena arena = Arena.ofShared();
                Compute compute = new Compute(ThreadTeam.of(threads))) {
            GgufBlockWeight blocks = random(arena, type, inFeatures);
            Tensor decoded = Tensor.allocate(arena, DType.F32, OUT, inFeatures);
            float[] values = new float[OUT * inFeatures];
            blocks.decode(0, OUT, 0, inFeatures, values, 0, inFeatures);
            MemorySegment.copy(values, 0, decoded.segment(), Tensor.FLOAT, 0, values.length);
            DenseWeight dense = new DenseWeight(decoded);
            Matrix x = random(arena, TOKENS, inFeatures);
            Matrix g = random(arena, TOKENS, OUT);
            Matrix y = Matrix.allocate(arena, TOKENS, OUT);
            Matrix expectedY = Matrix.allocate(arena, TOKENS, OUT);
            Matrix gradient = Matrix.allocate(arena, TOKENS, inFeatures);
            Matrix expectedGradient = Matrix.allocate(arena, TOKENS, inFeatures);

            MatMul.multiply(compute, blocks, x, y, true);
            MatMul.multiply(compute, dense, x, expectedY, true);
            MatMul.multiplyTransposed(compute, blocks, g, gradient, true);
            MatMul.multiplyTransposed(compute, dense, g, expectedGradient, true);

            assertThat(y.segment().mismatch(expectedY.segment())).isEqualTo(-1);
            assertThat(gradient.segment().mismatch(expectedGradient.segment())).isEqualTo(-1);
        }
    }

    /// Random bits below 2^-1 in every byte pair, so that each is a finite f16 wherever a factor lies.
    private static GgufBlockWeight random(Arena arena, GgufType type, int inFeatures) {
        long bytes = (long) OUT * inFeatures / type.blockElements() * type.blockBytes();
        MemorySegment segment = arena.allocate(bytes, 64);
        SplittableRandom random = new SplittableRandom(1);
        for (long at = 0; at < bytes; at++) {
            segment.set(Tensor.BYTE, at, (byte) (random.nextInt() & 0x37));
        }
        return new GgufBlockWeight(type, segment, OUT, inFeatures);
    }

    private static Matrix random(Arena arena, int rows, int columns) {
        Matrix matrix = Matrix.allocate(arena, rows, columns);
        SplittableRandom random = new SplittableRandom(2);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextDouble(-1, 1));
            }
        }
        return matrix;
    }
}
