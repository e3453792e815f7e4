package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import org.junit.jupiter.api.Test;

class EmbeddingTest extends KernelTest {
    private static final int VOCAB = 23;
    private static final int HIDDEN = 131;

    private DenseWeight table() {
        Tensor tensor = Tensor.allocate(arena, DType.F32, VOCAB, HIDDEN);
        for (int i = 0; i < tensor.elements(); i++) {
            tensor.setFloat(i, i);
        }
        return new DenseWeight(tensor);
    }

    @Test
    void gathersRows() {
        int[] ids = random.ints(50, 0, VOCAB).toArray();
        Matrix out = Numbers.poisoned(arena, ids.length, HIDDEN);
        Embedding.gather(compute, table(), ids, out);
        for (int token = 0; token < ids.length; token++) {
            for (int column = 0; column < HIDDEN; column++) {
                assertThat(out.get(token, column)).isEqualTo((float) (ids[token] * HIDDEN + column));
            }
        }
    }

    @Test
    void scatterIsTheTransposeOfGather() {
        int[] ids = random.ints(400, 0, VOCAB).toArray();
        Matrix gradOut = Numbers.random(arena, random, ids.length, HIDDEN);
        Matrix gradTable = Matrix.allocate(arena, VOCAB, HIDDEN);
        Matrix alone = Matrix.allocate(arena, VOCAB, HIDDEN);
        Embedding.scatterAdd(compute, ids, gradOut, gradTable);
        Embedding.scatterAdd(single, ids, gradOut, alone);
        double[] expected = new double[VOCAB * HIDDEN];
        double[] grads = Numbers.doubles(gradOut);
        for (int token = 0; token < ids.length; token++) {
            for (int column = 0; column < HIDDEN; column++) {
                expected[ids[token] * HIDDEN + column] += grads[token * HIDDEN + column];
            }
        }
        Numbers.assertClose(gradTable, expected, 1e-6);
        Numbers.assertSameBits(gradTable, alone);
    }

    @Test
    void refusesIdsOutsideTheTable() {
        assertThatThrownBy(() ->
                        Embedding.gather(compute, table(), new int[] {1, VOCAB}, Matrix.allocate(arena, 2, HIDDEN)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("ids[1]: expected 0 to 22, found 23");
    }
}
