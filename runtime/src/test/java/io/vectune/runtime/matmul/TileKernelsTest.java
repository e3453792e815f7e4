package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TileKernelsTest {
    /// Wide blocks along the rows, along the columns, none of them, and all with something beside and below them.
    @ParameterizedTest
    @CsvSource({"16, 16", "48, 16", "16, 80", "32, 128", "15, 40", "33, 17", "61, 39", "192, 16", "1, 1", "20, 5"})
    void transposesAsTheScalarKernels(int rows, int columns) {
        int stride = columns + 16;
        int targetStride = rows + 16;
        float[] source = new float[rows * stride + 7];
        SplittableRandom random = new SplittableRandom(rows);
        for (int i = 0; i < source.length; i++) {
            source[i] = (float) random.nextDouble();
        }
        float[] expected = new float[columns * targetStride + 5];
        float[] found = new float[expected.length];

        new ScalarTiles().transpose(source, 7, stride, rows, columns, expected, 5, targetStride);
        new VectorTiles().transpose(source, 7, stride, rows, columns, found, 5, targetStride);

        assertThat(found).isEqualTo(expected);
    }
}
