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
        MemorySegment stored = Arena.ofAuto().allocate(4L * COLUMNS, 4);
        MemorySegment.copy(x, 0, stored, Tensor.FLOAT, 0, COLUMNS);
        ByteRows.arrange(stored, 0, COLUMNS, arranged, 3);
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
}
