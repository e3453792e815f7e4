package io.vectune.quant.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.TestData;
import io.vectune.quant.WeightChecks;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class GgufWeightTest {

    @ParameterizedTest
    @EnumSource(
            value = GgufType.class,
            names = {
                "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"
            })
    void decodesToTheBitsOfTheReferenceAndMultiplies(GgufType type) {
        try (Arena arena = Arena.ofShared()) {
            GgufFile file = GgufFile.open(TestData.path("gguf", "blocks.gguf"), arena);
            Weight weight = file.tensor(type.name()).weight();
            float[] expected = file.tensor(type.name() + ".expected").asTensor().asMatrix().toArray();
            WeightChecks.decodesTo(weight, expected);
            WeightChecks.products(weight);
            Tensor dense = file.tensor(type.name()).dequantize(arena);
            WeightChecks.sameBits(dense.asMatrix().toArray(), expected);
        }
    }

    @ParameterizedTest
    @EnumSource(value = GgufType.class)
    void everyReadableBlockFormatHasBothTiers(GgufType type) {
        assertThat(type.isPlain() || !type.isReadable() || GgufBlockFormat.of(type) != null).isTrue();
        if (!type.isReadable()) {
            assertThatThrownBy(() -> new GgufBlockWeight(type, MemorySegment.NULL, 0, 0))
                    .hasMessageContaining(type.name())
                    .hasMessageContaining("cannot be decoded");
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = GgufType.class,
            names = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"})
    void vectorDecodeHasTheBitsOfTheDefinition(GgufType type) {
        try (Arena arena = Arena.ofConfined()) {
            GgufTensor tensor = GgufFile.open(TestData.path("gguf", "blocks.gguf"), arena).tensor(type.name());
            GgufBlockFormat format = GgufBlockFormat.of(type);
            int blocks = (int) (tensor.elements() / type.blockElements());
            float[] vector = new float[(int) tensor.elements()];
            float[] scalar = new float[vector.length];
            format.decode(tensor.segment(), 0, blocks, vector, 0);
            for (int i = 0; i < scalar.length; i++) {
                scalar[i] =
                        format.value(
                                tensor.segment(),
                                (long) (i / type.blockElements()) * type.blockBytes(),
                                i % type.blockElements());
            }
            WeightChecks.sameBits(vector, scalar);
        }
    }

    @Test
    void permutesRowsByMovingBytes() {
        try (Arena arena = Arena.ofConfined()) {
            GgufTensor tensor = GgufFile.open(TestData.path("gguf", "blocks.gguf"), arena).tensor("Q4_1");
            Weight weight = tensor.weight();
            Weight permuted = tensor.permuteRows(arena, new int[] {2, 0, 1}).weight();
            float[] rows = new float[3 * 96];
            float[] moved = new float[3 * 96];
            weight.decode(0, 3, 0, 96, rows, 0, 96);
            permuted.decode(0, 3, 0, 96, moved, 0, 96);
            for (int i = 0; i < 96; i++) {
                assertThat(moved[i]).isEqualTo(rows[2 * 96 + i]);
                assertThat(moved[96 + i]).isEqualTo(rows[i]);
                assertThat(moved[2 * 96 + i]).isEqualTo(rows[96 + i]);
            }
            assertThatThrownBy(() -> tensor.permuteRows(arena, new int[] {0, 0, 1}))
                    .hasMessageContaining("permutation");
            assertThatThrownBy(() -> tensor.permuteRows(arena, new int[] {0})).hasMessageContaining("as many rows");
        }
    }

    @Test
    void halfSplitUndoesInterleaving() {
        assertThat(GgufTensor.halfSplitHeads(2, 4)).containsExactly(0, 2, 1, 3, 4, 6, 5, 7);
        assertThatThrownBy(() -> GgufTensor.halfSplitHeads(2, 3)).hasMessageContaining("even headDim");
    }
}
