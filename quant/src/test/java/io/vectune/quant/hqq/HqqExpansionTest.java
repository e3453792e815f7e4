package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What a wider HQQ weight keeps of the narrow one: words, codes, scales and zero points, and how they are stored.
class HqqExpansionTest {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(1);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    record Shape(HqqBits bits, int axis, int group, int rows, int columns, int newColumns, DType type) {}

    /// All widths and both axes; rows that the slots of a word divide and others, so that slots end inside rows; odd
    /// runs.
    static Stream<Shape> shapes() {
        List<Shape> shapes = new ArrayList<>();
        for (HqqBits bits : HqqBits.values()) {
            for (DType type : List.of(DType.F32, DType.BF16)) {
                shapes.add(new Shape(bits, 1, 8, 40, 24, 56, type));
                shapes.add(new Shape(bits, 1, 8, 24, 16, 24, type));
                shapes.add(new Shape(bits, 1, 8, 12, 16, 48, type));
                shapes.add(new Shape(bits, 1, 3, 8, 21, 51, type));
                shapes.add(new Shape(bits, 0, 8, 40, 13, 29, type));
                shapes.add(new Shape(bits, 0, 16, 48, 7, 9, type));
            }
        }
        shapes.add(new Shape(HqqBits.TWO, 1, 4, 6, 8, 24, DType.F32));
        shapes.add(new Shape(HqqBits.ONE, 1, 3, 4, 18, 24, DType.F32));
        return shapes.stream();
    }

    private HqqWeight quantize(HqqConfig config, int rows, int columns) {
        Tensor dense = HqqInputs.gaussian(arena, rows, columns, 7, 0.05);
        return HqqQuantizer.quantize(compute, "w", dense, config, arena);
    }

    private static void requireOldBits(HqqWeight old, HqqWeight wide) {
        for (int row = 0; row < old.outFeatures(); row++) {
            for (int column = 0; column < wide.inFeatures(); column++) {
                int group = wide.geometry().groupOf((long) row * wide.inFeatures() + column);
                if (column < old.inFeatures()) {
                    int before = old.geometry().groupOf((long) row * old.inFeatures() + column);
                    assertThat(wide.code(row, column)).isEqualTo(old.code(row, column));
                    assertThat(wide.scale(group)).isEqualTo(old.scale(before));
                    assertThat(wide.zeroPoint(group)).isEqualTo(old.zeroPoint(before));
                } else {
                    assertThat(wide.code(row, column)).isZero();
                    assertThat(wide.scale(group)).isEqualTo(1);
                    assertThat(wide.zeroPoint(group)).isEqualTo(0f);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("shapes")
    void keepsCodesScalesAndZeroPoints(Shape shape) {
        HqqConfig config = HqqConfig.of(shape.bits, shape.group, shape.axis).withComputeDtype(shape.type);
        HqqWeight old = quantize(config, shape.rows, shape.columns);
        HqqWeight wide = old.widened(shape.newColumns, arena);
        requireOldBits(old, wide);
        assertThat(wide.config()).isEqualTo(config);
        assertThat(wide.scaleMeta().floatType(DType.F64)).isEqualTo(shape.type);
        if (shape.axis == 0 || shape.rows % shape.bits.packing().slots() == 0) {
            long oldRow = (long) shape.columns * shape.bits.packing().wordBytes();
            long newRow = (long) shape.newColumns * shape.bits.packing().wordBytes();
            assertThat(wide.packed().byteSize() / newRow).isEqualTo(old.packed().byteSize() / oldRow);
            for (int row = 0; row < wide.packed().byteSize() / newRow; row++) {
                assertThat(
                                wide.packed()
                                        .asSlice(row * newRow, oldRow)
                                        .mismatch(old.packed().asSlice(row * oldRow, oldRow)))
                        .isEqualTo(-1);
            }
        }
    }

    private static HqqGeometry metaGeometry(HqqMeta meta) {
        if (meta instanceof HqqMeta.Quantized quantized) {
            return quantized.weight().geometry();
        }
        throw new AssertionError("expected quantized values, found " + meta);
    }

    private HqqWeight widened(HqqConfig config, int rows, int columns, int newColumns) {
        HqqWeight old = quantize(config, rows, columns);
        HqqWeight wide = old.widened(newColumns, arena);
        requireOldBits(old, wide);
        return wide;
    }

    private static HqqConfig withMeta(int axis, HqqMetaConfig scale, HqqMetaConfig zero) {
        return HqqConfig.of(HqqBits.FOUR, 64, axis).withMeta(scale, zero);
    }

    // The input layer of Flux as hqq quantizes it with quant_scale and quant_zero.
    @ParameterizedTest
    @ValueSource(ints = {128, 256})
    void metadataOfTheInputLayerOfFluxStayInEightBits(int newColumns) {
        HqqConfig config = withMeta(1, HqqMetaConfig.GROUPS_OF_128, HqqMetaConfig.PER_TENSOR);
        HqqWeight wide = widened(config, 3072, 64, newColumns);
        int perRow = newColumns / 64;
        assertThat(wide.config().scaleMeta()).isEqualTo(HqqMetaConfig.GROUPS_OF_128);
        assertThat(metaGeometry(wide.scaleMeta()).groups()).isEqualTo(24 * perRow);
        assertThat(wide.config().zeroMeta()).isEqualTo(new HqqMetaConfig.Grouped(3072, 0));
        assertThat(metaGeometry(wide.zeroMeta()).groups()).isEqualTo(perRow);
    }

    // 48 rows of scales and 24 groups that run over rows and columns: three groups a column keep them apart.
    @Test
    void groupsOnAxisZeroThatCrossColumnsBecomeSmaller() {
        HqqConfig config = withMeta(0, HqqMetaConfig.GROUPS_OF_128, HqqMetaConfig.PER_TENSOR);
        HqqWeight wide = widened(config, 3072, 64, 128);
        assertThat(wide.config().scaleMeta()).isEqualTo(new HqqMetaConfig.Grouped(16, 0));
        assertThat(metaGeometry(wide.scaleMeta()).groups()).isEqualTo(3 * 128);
        assertThat(wide.config().zeroMeta()).isEqualTo(new HqqMetaConfig.Grouped(48, 0));
    }

    @Test
    void groupsOnAxisOneStayWhereOldAndNewColumnsHaveWholeOnes() {
        HqqMetaConfig along = new HqqMetaConfig.Grouped(8, 1);
        HqqWeight wide = widened(HqqConfig.of(HqqBits.FOUR, 8, 1).withMeta(along, along), 16, 64, 128);
        assertThat(wide.config().scaleMeta()).isEqualTo(along);
        assertThat(metaGeometry(wide.zeroMeta()).groups()).isEqualTo(16 * 2);
        // One group a row: nothing shorter than a value separates old from new.
        HqqWeight single = widened(withMeta(1, along, HqqMetaConfig.PLAIN), 16, 64, 128);
        assertThat(single.config().scaleMeta()).isEqualTo(HqqMetaConfig.PLAIN);
    }

    @Test
    void oneOfBothMayBePlain() {
        HqqWeight wide = widened(withMeta(1, HqqMetaConfig.PLAIN, HqqMetaConfig.PER_TENSOR), 128, 64, 192);
        assertThat(wide.config().scaleMeta()).isEqualTo(HqqMetaConfig.PLAIN);
        assertThat(wide.config().zeroMeta()).isEqualTo(new HqqMetaConfig.Grouped(128, 0));
    }

    @Test
    void wideningTwiceIsWideningOnce() {
        HqqConfig config = withMeta(0, HqqMetaConfig.GROUPS_OF_128, HqqMetaConfig.PER_TENSOR);
        HqqWeight old = quantize(config, 3072, 64);
        HqqWeight once = old.widened(192, arena);
        HqqWeight twice = old.widened(128, arena).widened(192, arena);
        assertThat(twice.packed().mismatch(once.packed())).isEqualTo(-1);
        assertThat(twice.config()).isEqualTo(once.config());
        assertThat(twice.storageBytes()).isEqualTo(once.storageBytes());
        requireOldBits(old, twice);
    }

    @Test
    void halfPrecisionMetadataDecodeToTheSameBits() {
        HqqConfig config =
                withMeta(1, HqqMetaConfig.GROUPS_OF_128, HqqMetaConfig.PER_TENSOR).withComputeDtype(DType.F16);
        HqqWeight old = quantize(config, 256, 64);
        HqqWeight wide = old.widened(128, arena);
        requireOldBits(old, wide);
        float scale = wide.scale(0);
        assertThat(FloatCast.round(scale, DType.F16)).isEqualTo(scale);
    }
}
