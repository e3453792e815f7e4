package io.vectune.quant.bnb;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.Quantizers;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightChecks;
import io.vectune.quant.WeightFormats;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.node.ObjectNode;

class BnbFormatTest {
    private static final String LAYER = "model.layers.0.mlp.gate_proj";

    @TempDir Path folder;
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private Tensor dense(int rows, int columns) {
        Matrix values = WeightChecks.random(arena, rows, columns, 4);
        return Tensor.of(DType.F32, new long[] {rows, columns}, values.segment().asSlice(0, 4L * rows * columns));
    }

    private SafetensorsFile write(Map<String, Tensor> tensors) {
        Path path = folder.resolve("model.safetensors");
        SafetensorsWriter.write(path, tensors, Map.of());
        return SafetensorsFile.open(path, arena);
    }

    @ParameterizedTest
    @CsvSource({"nf4,false,64", "nf4,true,64", "fp4,false,32", "fp4,true,128", "int8,false,64"})
    void whatIsWrittenIsReadBack(String method, boolean doubleQuant, int blockSize) {
        WeightQuantizer quantizer =
                Quantizers.of(QuantizeOptions.of(method).withDoubleQuant(doubleQuant).withBlockSize(blockSize));
        Tensor dense = dense(11, 96);
        QuantizedWeight weight = quantizer.quantize(compute, LAYER, dense, arena);
        SequencedMap<String, Tensor> tensors = weight.tensors(LAYER, arena);
        SequencedMap<String, TensorSpec> declared = quantizer.declare(LAYER, 11, 96, DType.F32);
        Map<String, TensorSpec> made = new LinkedHashMap<>();
        tensors.forEach((name, tensor) -> made.put(name, TensorSpec.of(tensor)));
        assertThat(made).isEqualTo(declared);

        SafetensorsFile file = write(tensors);
        assertThat(WeightFormats.of(file, "model.layers.0.mlp.up_proj")).isEmpty();
        ObjectNode config = quantizer.quantizationConfig(List.of("lm_head"), DType.F32);
        QuantizedWeight read =
                WeightFormats.of(file, LAYER).orElseThrow().load(file, LAYER, new LoadContext(arena, config));
        assertThat(WeightFormats.of(file, LAYER).orElseThrow().keys(file, LAYER)).isEqualTo(tensors.keySet());
        assertThat(read.description()).isEqualTo(weight.description()).isEqualTo(quantizer.description());
        float[] expected = new float[11 * 96];
        weight.decode(0, 11, 0, 96, expected, 0, 96);
        WeightChecks.decodesTo(read, expected);
        SequencedMap<String, Tensor> again = read.tensors(LAYER, arena);
        tensors.forEach((name, tensor) ->
                assertThat(get(again, name).segment().toArray(Tensor.BYTE))
                        .as(name)
                        .isEqualTo(tensor.segment().toArray(Tensor.BYTE)));
    }

    @Test
    void theStateIsThatOfThePythonLibrary() {
        FourBitWeight weight = FourBitQuantizer.quantize(compute, LAYER, dense(3, 64), FourBitConfig.nf4(false), arena);
        assertThat(new String(QuantState.of(weight).encode(), StandardCharsets.UTF_8))
                .isEqualTo("{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [3, 64]}");
        assertThat(QuantState.pythonNumber(0.061540860682725906)).isEqualTo("0.061540860682725906");
        assertThat(QuantState.pythonNumber(1.25e-7)).isEqualTo("1.25e-07");
        assertThat(QuantState.pythonNumber(1e22)).isEqualTo("1e+22");
        assertThat(QuantState.pythonNumber(3)).isEqualTo("3.0");
        assertThat(QuantState.pythonNumber(0)).isEqualTo("0.0");
        assertThat(QuantState.pythonNumber(-2.5e-300)).isEqualTo("-2.5e-300");
    }

    @Test
    void packedBytesMayBeShownAsFloats() {
        FourBitWeight weight =
                FourBitQuantizer.quantize(
                        compute, LAYER, dense(7, 33), new FourBitConfig(FourBitType.NF4, 64, true, DType.BF16), arena);
        SequencedMap<String, Tensor> tensors = weight.tensors(LAYER, arena);
        assertThat(TensorSpec.of(get(tensors, LAYER + ".weight"))).isEqualTo(TensorSpec.of(DType.BF16, 58, 1));
        QuantizedWeight read = new FourBitFormat().load(write(tensors), LAYER, LoadContext.of(arena));
        float[] expected = new float[7 * 33];
        weight.decode(0, 7, 0, 33, expected, 0, 33);
        WeightChecks.decodesTo(read, expected);
    }

    private SequencedMap<String, Tensor> nf4(boolean nested) {
        return FourBitQuantizer.quantize(compute, LAYER, dense(8, 64), FourBitConfig.nf4(nested), arena)
                .tensors(LAYER, arena);
    }

    private static Tensor get(Map<String, Tensor> tensors, String name) {
        return Objects.requireNonNull(tensors.get(name), name);
    }

    private void refused(Map<String, Tensor> tensors, String... parts) {
        SafetensorsFile file = write(tensors);
        assertThatThrownBy(() -> WeightFormats.of(file, LAYER).orElseThrow().load(file, LAYER, LoadContext.of(arena)))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("model.safetensors")
                .hasMessageContainingAll(parts);
    }

    private Tensor text(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        Tensor tensor = Tensor.allocate(arena, DType.U8, bytes.length);
        MemorySegment.copy(bytes, 0, tensor.segment(), Tensor.BYTE, 0, bytes.length);
        return tensor;
    }

    @Test
    void damagedFourBitTensorsAreRefusedByName() {
        String weight = LAYER + ".weight";
        String state = weight + ".quant_state.bitsandbytes__nf4";

        SequencedMap<String, Tensor> shorter = nf4(false);
        shorter.put(weight, Tensor.allocate(arena, DType.U8, 255, 1));
        refused(shorter, weight, "expected 256 bytes of codes for (8, 64), found 255");

        SequencedMap<String, Tensor> stateless = nf4(false);
        stateless.remove(state);
        refused(stateless, weight, "expected exactly one of", "found none");

        SequencedMap<String, Tensor> both = nf4(false);
        both.put(weight + ".quant_state.bitsandbytes__fp4", text("{}"));
        refused(both, weight, "found both");

        SequencedMap<String, Tensor> unknown = nf4(false);
        unknown.put(state, text("{\"quant_type\": \"int4\", \"blocksize\": 64, \"dtype\": \"float32\"}"));
        refused(unknown, state, "quant_type: expected nf4 or fp4, found int4");

        SequencedMap<String, Tensor> other = nf4(false);
        other.put(state, text("{\"quant_type\": \"fp4\", \"blocksize\": 64}"));
        refused(other, state, "contradict each other");

        SequencedMap<String, Tensor> blocks = nf4(false);
        blocks.put(state, text("{\"quant_type\": \"nf4\", \"blocksize\": 48}"));
        refused(blocks, state, "expected a power of two from 32 to 4096, found 48");

        SequencedMap<String, Tensor> shapeless = nf4(false);
        shapeless.put(state, text("{\"quant_type\": \"nf4\", \"blocksize\": 64, \"shape\": [8, -64]}"));
        refused(shapeless, state, "shape: expected [outFeatures, inFeatures], found [8,-64]");

        SequencedMap<String, Tensor> broken = nf4(false);
        broken.put(state, text("{\"quant_type\": "));
        refused(broken, state, "not valid JSON");

        SequencedMap<String, Tensor> infinite = nf4(false);
        get(infinite, weight + ".absmax").setFloat(3, Float.POSITIVE_INFINITY);
        refused(infinite, weight + ".absmax", "found Infinity at [3]");

        SequencedMap<String, Tensor> few = nf4(false);
        few.put(weight + ".absmax", Tensor.allocate(arena, DType.F32, 7));
        refused(few, weight, "absmax: expected 8 values for (8, 64) in blocks of 64, found 7");

        SequencedMap<String, Tensor> map = nf4(false);
        get(map, weight + ".quant_map").setFloat(3, 0.5f);
        refused(map, weight + ".quant_map", "expected the 16 values of nf4");

        SequencedMap<String, Tensor> plain = nf4(true);
        plain.put(weight + ".absmax", Tensor.allocate(arena, DType.F32, 8));
        refused(plain, weight + ".absmax", "expected U8 codes (double quantization), found F32[8]");

        SequencedMap<String, Tensor> missing = nf4(true);
        missing.remove(weight + ".nested_absmax");
        refused(missing, "has no tensor " + weight + ".nested_absmax");
    }

    @Test
    void damagedInt8TensorsAreRefusedByName() {
        Int8Weight weight = Int8Quantizer.quantize(compute, LAYER, dense(8, 64), arena);
        SequencedMap<String, Tensor> few = weight.tensors(LAYER, arena);
        few.put(LAYER + ".SCB", Tensor.allocate(arena, DType.F32, 7));
        refused(few, LAYER + ".SCB", "expected F32[8], one value a row, found F32[7]");

        SequencedMap<String, Tensor> floats = weight.tensors(LAYER, arena);
        floats.put(LAYER + ".weight", dense(8, 64));
        refused(floats, LAYER + ".weight", "expected I8 (outFeatures, inFeatures) beside SCB");

        SequencedMap<String, Tensor> layout = weight.tensors(LAYER, arena);
        get(layout, LAYER + ".weight_format").segment().set(Tensor.BYTE, 0, (byte) 2);
        refused(layout, LAYER + ".weight_format", "expected 0 (rows), found 2");

        SequencedMap<String, Tensor> nan = weight.tensors(LAYER, arena);
        Tensor absmax = Tensor.allocate(arena, DType.F32, 8);
        absmax.setFloat(5, Float.NaN);
        nan.put(LAYER + ".SCB", absmax);
        refused(nan, LAYER + ".SCB", "found NaN at [5]");
    }

    @Test
    void aConfigurationThatContradictsTheTensorsIsRefused() {
        SafetensorsFile file = write(nf4(true));
        FourBitFormat format = new FourBitFormat();
        for (QuantizeOptions options :
                List.of(
                        QuantizeOptions.of("fp4").withDoubleQuant(true),
                        QuantizeOptions.of("nf4"),
                        QuantizeOptions.of("int8"),
                        QuantizeOptions.of("hqq"))) {
            ObjectNode config = Quantizers.of(options).quantizationConfig(List.of(), DType.F32);
            assertThatThrownBy(() -> format.load(file, LAYER, new LoadContext(arena, config)))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining(LAYER + ".weight: quantization_config of config.json says");
        }
    }

    @Test
    void badInputOfTheQuantizerIsNamed() {
        Tensor weight = dense(4, 64);
        weight.setFloat(2 * 64 + 5, Float.NaN);
        weight.setFloat(2 * 64 + 9, Float.NEGATIVE_INFINITY);
        assertThatThrownBy(() -> FourBitQuantizer.quantize(compute, LAYER, weight, FourBitConfig.nf4(true), arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining(LAYER + " has 2 values that are not finite")
                .hasMessageContaining("NaN at [2, 5]");
        assertThatThrownBy(() -> Quantizers.of(QuantizeOptions.of("nf4").withBlockSize(48)))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("nf4: blockSize: expected a power of two from 32 to 4096, found 48");
    }
}
