package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ByteRowsTest {
    private static final int COLUMNS = 320;
    private static final int FROM = 5;
    private static final int NEXT = 8;

    private final SplittableRandom random = new SplittableRandom(9);
    private final MemorySegment codes = Arena.ofAuto().allocate(COLUMNS + 2 * FROM);
    private final float[] x = new float[COLUMNS];
    private final float[] arranged = new float[COLUMNS + 3];

    @BeforeEach
    void fill() {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR);
        for (int i = 0; i < codes.byteSize(); i++) {
            codes.set(Tensor.BYTE, i, (byte) random.nextInt());
        }
        for (int i = 0; i < COLUMNS; i++) {
            x[i] = (float) random.nextDouble(-1, 1);
        }
        ByteRows.arrange(x, 0, COLUMNS, arranged, 3);
    }

    @ParameterizedTest
    @CsvSource({"0, 0, 8, 128", "0, 0, 8, 0", "4, 0, 4, 8", "0, 4, 4, 0", "6, 2, 2, 2", "2, 4, 2, 1", "7, 0, 1, 0"})
    void multipliesCodesAtAnyPlaceOfTheByte(int firstPlace, int secondPlace, int width, int center) {
        int group = ByteRows.COLUMNS;
        int groups = COLUMNS / group;
        MemorySegment scale = Arena.ofAuto().allocate(4L * (2 * groups + 1), 4);
        for (int i = 1; i <= 2 * groups; i++) {
            scale.set(Tensor.FLOAT, 4L * i, (float) random.nextDouble(-1, 1));
        }
        MemorySegment y = Arena.ofAuto().allocate(8, 4);
        ByteRows.grouped(
                codes,
                FROM,
                firstPlace,
                NEXT,
                secondPlace,
                COLUMNS,
                width,
                center,
                scale,
                scale,
                4,
                4L * (groups + 1),
                0,
                Integer.numberOfTrailingZeros(group),
                arranged,
                3,
                0,
                y,
                4,
                0.5f,
                0,
                -2);
        for (int row = 0; row < 2; row++) {
            double expected = row == 0 ? -0.5 : 2;
            for (int i = 0; i < COLUMNS; i++) {
                int bits = codes.get(Tensor.BYTE, (row == 0 ? FROM : NEXT) + i) & 0xFF;
                int code = (bits >>> (row == 0 ? firstPlace : secondPlace)) & ((1 << width) - 1);
                float factor = scale.get(Tensor.FLOAT, 4L * (1 + row * groups + i / group));
                expected += (double) (code - center) * x[i] * factor;
            }
            assertThat((double) y.get(Tensor.FLOAT, 4 - 4L * row))
                    .isCloseTo(expected, within(1e-6 * COLUMNS * (1 << width)));
        }
    }

    @Test
    void multipliesSignedBytes() {
        MemorySegment y = Arena.ofAuto().allocate(8, 4);
        ByteRows.signed(codes, FROM, NEXT, COLUMNS, arranged, 3, y, 0, 1, 4, 0.5f);
        double first = 0;
        double second = 0;
        for (int i = 0; i < COLUMNS; i++) {
            first += (double) codes.get(Tensor.BYTE, FROM + i) * x[i];
            second += 0.5 * codes.get(Tensor.BYTE, NEXT + i) * x[i];
        }
        assertThat((double) y.get(Tensor.FLOAT, 0)).isCloseTo(first, within(1e-6 * COLUMNS * 128));
        assertThat((double) y.get(Tensor.FLOAT, 4)).isCloseTo(second, within(1e-6 * COLUMNS * 128));
    }

    @Test
    void arrangesFromArraysAndFromSegmentsAlike() {
        MemorySegment stored = Arena.ofAuto().allocate(4L * COLUMNS, 4);
        MemorySegment.copy(x, 0, stored, Tensor.FLOAT, 0, COLUMNS);
        float[] other = new float[COLUMNS + 3];
        ByteRows.arrange(stored, 0, COLUMNS, other, 3);
        assertThat(other).isEqualTo(arranged);
    }
}
