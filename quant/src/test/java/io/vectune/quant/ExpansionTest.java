package io.vectune.quant;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ExpansionTest {
    private static final int OUT = 128;
    private static final int IN = 64;
    private static final int FLUX_OUT = 3072;

    @TempDir private Path folder;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final Random random = new Random(3);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    static List<String> formats() {
        return List.copyOf(options().keySet());
    }

    private static Map<String, QuantizeOptions> options() {
        Map<String, QuantizeOptions> options = new LinkedHashMap<>();
        options.put("nf4", QuantizeOptions.of("nf4"));
        options.put("nf4 nested", QuantizeOptions.of("nf4").withDoubleQuant(true));
        options.put("fp4", QuantizeOptions.of("fp4"));
        options.put("fp4 nested", QuantizeOptions.of("fp4").withDoubleQuant(true));
        options.put("int8", QuantizeOptions.of("int8"));
        options.put("hqq axis 1", QuantizeOptions.of("hqq"));
        options.put("hqq axis 0", QuantizeOptions.of("hqq").withAxis(0));
        options.put("hqq 3-bit", QuantizeOptions.of("hqq").withBits("3"));
        options.put("hqq 2-bit axis 0", QuantizeOptions.of("hqq").withBits("2").withAxis(0));
        options.put("hqq 8-bit metadata", QuantizeOptions.of("hqq").withMetaBits("8"));
        options.put("hqq 1-bit bf16", QuantizeOptions.of("hqq").withBits("1").withComputeDtype(DType.BF16));
        options.put("hqq axis 0 8-bit metadata", QuantizeOptions.of("hqq").withAxis(0).withMetaBits("8"));
        return options;
    }

    private QuantizedWeight quantize(String format) {
        Tensor dense = Tensor.allocate(arena, DType.F32, OUT, IN);
        for (int i = 0; i < OUT * IN; i++) {
            dense.setFloat(i, (float) random.nextGaussian() * 0.1f);
        }
        QuantizeOptions chosen = options().get(format);
        if (chosen == null) {
            throw new IllegalArgumentException(format);
        }
        return Quantizers.of(chosen).quantize(compute, "layer", dense, arena);
    }

    private static float[] decode(Weight weight) {
        float[] values = new float[weight.outFeatures() * weight.inFeatures()];
        weight.decode(0, weight.outFeatures(), 0, weight.inFeatures(), values, 0, weight.inFeatures());
        return values;
    }

    private Matrix matrix(int rows, int columns) {
        Matrix matrix = Matrix.allocate(arena, rows, columns);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextGaussian());
            }
        }
        return matrix;
    }

    @ParameterizedTest
    @MethodSource("formats")
    void structuralAndVirtualFormHoldTheOldBitsAndZeros(String format) {
        QuantizedWeight weight = quantize(format);
        float[] old = decode(weight);
        for (int width : new int[] {2 * IN, 3 * IN}) {
            float[] structural = decode(weight.widened(width, arena));
            Weight virtual = ExpandedWeight.of(weight, width);
            assertThat(decode(virtual)).hasSameSizeAs(structural);
            float[] view = decode(virtual);
            for (int row = 0; row < OUT; row++) {
                for (int column = 0; column < width; column++) {
                    float expected = column < IN ? old[row * IN + column] : 0;
                    assertThat(structural[row * width + column]).isEqualTo(expected);
                    assertThat(view[row * width + column]).isEqualTo(expected);
                }
            }
            assertThat(virtual.storageBytes()).isEqualTo(weight.storageBytes());
            assertThat(((ExpandedWeight) virtual).base()).isSameAs(weight);
        }
    }

    @ParameterizedTest
    @MethodSource("formats")
    void productsOfBothFormsAreEqual(String format) {
        QuantizedWeight weight = quantize(format);
        Weight structural = weight.widened(2 * IN, arena);
        Weight virtual = ExpandedWeight.of(weight, 2 * IN);
        // One token, a few, and more: three kinds of kernels.
        for (int tokens : new int[] {1, 2, 5, 8, 15, 70}) {
            Matrix x = matrix(tokens, 2 * IN);
            Matrix gradOutput = matrix(tokens, OUT);
            Matrix[][] results = new Matrix[2][];
            for (int form = 0; form < 2; form++) {
                Weight chosen = form == 0 ? structural : virtual;
                Matrix y = Matrix.allocate(arena, tokens, OUT);
                Matrix gradInput = Matrix.allocate(arena, tokens, 2 * IN);
                gradInput.fill(Float.NaN);
                MatMul.multiply(compute, chosen, x, y, false);
                MatMul.multiplyTransposed(compute, chosen, gradOutput, gradInput, false);
                results[form] = new Matrix[] {y, gradInput};
            }
            for (int i = 0; i < 2; i++) {
                assertThat(results[1][i].toArray()).as("%d tokens", tokens).isEqualTo(results[0][i].toArray());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("formats")
    void powersOfTwoFoldInExactly(String format) {
        QuantizedWeight weight = quantize(format);
        float[] old = decode(weight);
        float[] scaled = decode(weight.scaled(0.25f, arena));
        for (int i = 0; i < old.length; i++) {
            assertThat(scaled[i]).isEqualTo(0.25f * old[i]);
        }
    }

    @ParameterizedTest
    @MethodSource("formats")
    void widenedTensorsAreReadBack(String format) {
        QuantizedWeight wide = quantize(format).widened(2 * IN, arena);
        Path file = folder.resolve("wide.safetensors");
        SafetensorsWriter.write(file, wide.tensors("layer", arena), Map.of());
        SafetensorsFile source = SafetensorsFile.open(file, arena);
        Weight read = WeightFormats.of(source, "layer").orElseThrow().load(source, "layer", LoadContext.of(arena));
        assertThat(read.inFeatures()).isEqualTo(2 * IN);
        assertThat(read.description()).isEqualTo(wide.description());
        assertThat(decode(read)).isEqualTo(decode(wide));
    }

    @ParameterizedTest
    @MethodSource("formats")
    void theVirtualFormTakesNoMemoryAndTheStructuralOneWhatItsTensorsTake(String format) {
        QuantizedWeight weight = quantize(format);
        long before = weight.storageBytes();
        assertThat(ExpandedWeight.of(weight, 2 * IN).storageBytes()).isEqualTo(before);
        long after = weight.widened(2 * IN, arena).storageBytes();
        // Codes double, and so do scales that are stored for each block; one scale a row or a map of the format stays.
        // Of quantized scales and zero points the new columns get groups of their own: at most two floats a column.
        long groups = format.endsWith("metadata") ? 2L * 2 * 4 * 2 * IN : 0;
        assertThat(after).isBetween(before + OUT * IN / 8, 2 * before + groups);
        assertThat(weight.storageBytes()).isEqualTo(before);
    }

    @Test
    void nestedStatisticsOfTheInputLayerOfFluxStayNested() {
        Tensor dense = Tensor.allocate(arena, DType.F32, FLUX_OUT, IN);
        for (int i = 0; i < FLUX_OUT * IN; i++) {
            dense.setFloat(i, (float) random.nextGaussian() * 0.1f);
        }
        QuantizedWeight narrow =
                Quantizers.of(QuantizeOptions.of("nf4").withDoubleQuant(true)).quantize(compute, "x", dense, arena);
        Map<String, Tensor> old = narrow.tensors("x", arena);
        Map<String, Tensor> wide = narrow.widened(2 * IN, arena).tensors("x", arena);
        byte[] oldCodes = bytes(old, "x.weight");
        byte[] wideCodes = bytes(wide, "x.weight");
        byte[] oldAbsmax = bytes(old, "x.weight.absmax");
        byte[] wideAbsmax = bytes(wide, "x.weight.absmax");
        assertThat(wideCodes).hasSize(FLUX_OUT * IN);
        assertThat(wideAbsmax).hasSize(2 * FLUX_OUT);
        for (int row = 0; row < FLUX_OUT; row++) {
            for (int i = 0; i < IN / 2; i++) {
                assertThat(wideCodes[row * IN + i]).isEqualTo(oldCodes[row * IN / 2 + i]);
                assertThat(wideCodes[row * IN + IN / 2 + i]).isEqualTo((byte) 0x77);
            }
            assertThat(wideAbsmax[2 * row]).isEqualTo(oldAbsmax[row]);
        }
        byte[] oldNested = bytes(old, "x.weight.nested_absmax");
        byte[] wideNested = bytes(wide, "x.weight.nested_absmax");
        assertThat(oldNested).hasSize(4 * 12);
        assertThat(wideNested).hasSize(4 * 24);
        for (int i = 0; i < wideNested.length; i++) {
            assertThat(wideNested[i]).isEqualTo(oldNested[i / 8 * 4 + i % 4]);
        }
        for (String same : List.of("x.weight.quant_map", "x.weight.nested_quant_map")) {
            assertThat(bytes(wide, same)).isEqualTo(bytes(old, same));
        }
        String state = "x.weight.quant_state.bitsandbytes__nf4";
        String before = new String(bytes(old, state), StandardCharsets.UTF_8);
        String after = new String(bytes(wide, state), StandardCharsets.UTF_8);
        assertThat(after).isEqualTo(before.replace("[3072, 64]", "[3072, 128]"));
    }

    private static byte[] bytes(Map<String, Tensor> tensors, String name) {
        Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new AssertionError(name + " is not among " + tensors.keySet());
        }
        return tensor.segment().toArray(ValueLayout.JAVA_BYTE);
    }

    @Test
    void refusesBlocksThatStraddleRowsAndNarrowerWidths() {
        assertThatThrownBy(() -> quantize("nf4").widened(IN + 32, arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("block size 64");
        assertThatThrownBy(() -> quantize("hqq axis 1").widened(IN + 32, arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("groups of 64");
        assertThatThrownBy(() -> quantize("int8").widened(IN - 1, arena)).isInstanceOf(VectuneException.class);
        assertThatThrownBy(() -> ExpandedWeight.of(quantize("int8"), IN - 1))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
