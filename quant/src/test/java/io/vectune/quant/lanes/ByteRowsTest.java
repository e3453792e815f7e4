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
    @CsvSource({"0, 8, 128", "0, 8, 0", "4, 4, 8", "0, 4, 0", "6, 2, 2", "2, 2, 1", "7, 1, 0", "0, 1, 1"})
    void multipliesCodesAtAnyPlaceOfTheByte(int place, int width, int center) {
        int group = ByteRows.COLUMNS;
        int groups = COLUMNS / group;
        MemorySegment scale = Arena.ofAuto().allocate(4L * (groups + 1), 4);
        double expected = 0;
        for (int i = 0; i < COLUMNS; i++) {
            if (i % group == 0) {
                scale.set(Tensor.FLOAT, 4L * (i / group + 1), (float) random.nextDouble(-1, 1));
            }
            int code = ((codes.get(Tensor.BYTE, FROM + i) & 0xFF) >>> place) & ((1 << width) - 1);
            expected += (double) (code - center) * x[i] * scale.get(Tensor.FLOAT, 4L * (i / group + 1));
        }
        int log = Integer.numberOfTrailingZeros(group);
        float sum =
                ByteRows.grouped(codes, FROM, COLUMNS, place, width, center, scale, 4, log, arranged, 3);
        assertThat((double) sum).isCloseTo(expected, within(1e-6 * COLUMNS * (1 << width)));
    }

    @Test
    void multipliesSignedBytes() {
        double expected = 0;
        for (int i = 0; i < COLUMNS; i++) {
            expected += (double) codes.get(Tensor.BYTE, FROM + i) * x[i];
        }
        float sum = ByteRows.signed(codes, FROM, COLUMNS, arranged, 3);
        assertThat((double) sum).isCloseTo(expected, within(1e-6 * COLUMNS * 128));
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
