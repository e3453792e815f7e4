package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantTestData;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.Quantizers;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightFormats;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HqqFileTest {
    @TempDir Path folder;

    private static void hasTheExpectedWeights(TensorSource source, String expectedFile, Arena arena) {
        TensorSource expected = SafetensorsFile.open(QuantTestData.path("hqq/files/" + expectedFile), arena);
        assertThat(expected.names()).isNotEmpty();
        for (String name : expected.names()) {
            String layer = name.substring(0, name.length() - ".weight".length());
            QuantizedWeight weight = load(source, layer, arena);
            Tensor values = expected.tensor(name);
            float[] row = new float[weight.inFeatures()];
            for (int o = 0; o < weight.outFeatures(); o++) {
                weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
                for (int i = 0; i < row.length; i++) {
                    assertThat(row[i]).isEqualTo(values.getFloat((long) o * row.length + i));
                }
            }
        }
    }

    private static QuantizedWeight load(TensorSource source, String layer, Arena arena) {
        return WeightFormats.of(source, layer).orElseThrow().load(source, layer, LoadContext.of(arena));
    }

    @Test
    void readsAndWritesTheTensorsOfTheLibrary() {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = SafetensorsFile.open(QuantTestData.path("hqq/files/plain.safetensors"), arena);
            hasTheExpectedWeights(source, "plain.expected.safetensors", arena);
            int written = 0;
            for (String name : source.names()) {
                if (!name.endsWith(".W_q")) {
                    continue;
                }
                String layer = name.substring(0, name.length() - ".W_q".length());
                SequencedMap<String, Tensor> tensors = load(source, layer, arena).tensors(layer, arena);
                assertThat(new HqqFormat().keys(source, layer)).containsExactlyInAnyOrderElementsOf(tensors.keySet());
                assertThat(tensors).hasSize(19);
                tensors.forEach((key, tensor) -> {
                    assertThat(tensor.toString()).as(key).isEqualTo(source.tensor(key).toString());
                    assertThat(tensor.segment().mismatch(source.tensor(key).segment())).as(key).isEqualTo(-1);
                });
                written++;
            }
            assertThat(written).isEqualTo(10);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "qmodel.pt, plain.expected.safetensors",
        "qmodel-meta.pt, qmodel-meta.expected.safetensors",
        "qmodel-old.pt, qmodel-meta.expected.safetensors"
    })
    void readsPickledModels(String file, String expected) {
        try (Arena arena = Arena.ofShared()) {
            HqqModelFile model = HqqModelFile.open(QuantTestData.path("hqq/files/" + file), arena);
            hasTheExpectedWeights(model, expected, arena);
            if (file.equals("qmodel.pt")) {
                assertThat(model.tensor("model.norm.weight").getFloat(3)).isEqualTo(1f);
                assertThat(model.names()).contains("model.layers.0.self_attn.k_proj.bias");
            }
        }
    }

    @Test
    void refusesForeignClassesByName() {
        try (Arena arena = Arena.ofShared()) {
            assertThatThrownBy(() -> HqqModelFile.open(QuantTestData.path("hqq/files/qmodel-foreign.pt"), arena))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("names __builtin__.print, which is neither plain data nor a tensor");
        }
    }

    @Test
    void refusesCutPickles() throws IOException {
        byte[] whole = Files.readAllBytes(QuantTestData.path("hqq/files/qmodel-meta.pt"));
        for (int keep : new int[] {0, 10, whole.length / 2, whole.length - 30, whole.length - 1}) {
            Path cut = folder.resolve("cut-" + keep + ".pt");
            Files.write(cut, java.util.Arrays.copyOf(whole, keep));
            try (Arena arena = Arena.ofShared()) {
                assertThatThrownBy(() -> HqqModelFile.open(cut, arena)).isInstanceOf(FileFormatException.class);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"8", "6", "5", "4", "3", "2", "1.58", "1"})
    void declaresWhatItWritesAndReadsItBack(String bits) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            for (int axis = 0; axis < 2; axis++) {
                for (String meta : new String[] {"none", "8"}) {
                    WeightQuantizer quantizer =
                            Quantizers.of(QuantizeOptions.of("hqq").withBits(bits).withAxis(axis).withMetaBits(meta));
                    Tensor dense =
                            HqqInputs.tensor(arena, DType.BF16, 64, 96, HqqInputs.values(64, 96, 3, 0.02, "none"));
                    QuantizedWeight weight = quantizer.quantize(compute, "a.b", dense, arena);
                    SequencedMap<String, Tensor> tensors = weight.tensors("a.b", arena);
                    SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
                    tensors.forEach((name, tensor) -> specs.put(name, TensorSpec.of(tensor)));
                    assertThat(quantizer.declare("a.b", 64, 96, DType.BF16)).containsExactlyInAnyOrderEntriesOf(specs);
                    Path file = folder.resolve(axis + meta + ".safetensors");
                    SafetensorsWriter.write(file, tensors, Map.of());
                    QuantizedWeight again = load(SafetensorsFile.open(file, arena), "a.b", arena);
                    float[] first = new float[64 * 96];
                    float[] second = new float[64 * 96];
                    weight.decode(0, 64, 0, 96, first, 0, 96);
                    again.decode(0, 64, 0, 96, second, 0, 96);
                    assertThat(second).isEqualTo(first);
                    assertThat(again.computeDtype()).isEqualTo(DType.BF16);
                }
            }
        }
    }

    @Test
    void refusesWhatContradictsItself() {
        refuses("W_q", t -> t.allocate(DType.U8, 15, 64), "W_q: expected U8 of 1024 bytes for 4bit_u8 of [32, 64]");
        refuses("W_q", t -> t.allocate(DType.I8, 16, 64), "W_q: expected U8 of 1024 bytes");
        refuses("scale", t -> t.allocate(DType.F32, 31, 1), "scale: expected 32 values in F32, F16 or BF16");
        refuses(
                "scale",
                t -> t.number(DType.F32, Float.NaN, 32, 1),
                "scale: expected finite values, found NaN at group 0");
        refuses("zero", t -> t.number(DType.F32, Float.POSITIVE_INFINITY, 32, 1), "zero: expected finite values");
        refuses("group_size", t -> t.integer(48), "group_size: weight (32, 64): expected a group size that divides");
        refuses("axis", t -> t.integer(2), "axis: expected 0 or 1, found 2");
        refuses("nbits", t -> t.integer(3), "nbits: expected a width that 4bit_u8 packs, found 3");
        refuses("packing", t -> t.text("7bit_u8"), "packing: expected one of");
        refuses("compute_dtype", t -> t.text("os.system('x')"), "compute_dtype: expected torch.float32");
        refuses("shape", t -> t.allocate(DType.I64, 3), "shape: expected [outFeatures, inFeatures]");
        refuses("zero", t -> null, "zero: missing");
        refuses("packing", t -> null, "packing: missing");
    }

    @Test
    void refusesCodesOutOfRange() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            for (String bits : new String[] {"6", "5", "1.58", "3"}) {
                HqqConfig config = HqqConfig.of(HqqBits.of(bits), 64, 1);
                Tensor dense = HqqInputs.gaussian(arena, 40, 64, 1, 0.02);
                HqqWeight weight = HqqQuantizer.quantize(compute, "w", dense, config, arena);
                Map<String, Tensor> tensors = weight.tensors("w", arena);
                long last = weight.packed().byteSize() - 1;
                weight.packed().set(Tensor.BYTE, last, (byte) 0xff);
                assertThatThrownBy(() -> load(new MapSource(tensors), "w", arena))
                        .isInstanceOf(FileFormatException.class)
                        .hasMessageContaining("w.W_q: expected ");
            }
        }
    }

    private interface Replacement {
        @org.jspecify.annotations.Nullable
        Tensor make(Maker maker);
    }

    private record Maker(Arena arena) {
        Tensor allocate(DType type, long... shape) {
            return Tensor.allocate(arena, type, shape);
        }

        Tensor number(DType type, float value, long... shape) {
            Tensor tensor = allocate(type, shape);
            tensor.setFloat(0, value);
            return tensor;
        }

        Tensor integer(int value) {
            Tensor tensor = allocate(DType.I32);
            tensor.segment().set(Tensor.INT, 0, value);
            return tensor;
        }

        Tensor text(String value) {
            byte[] bytes = value.getBytes(StandardCharsets.US_ASCII);
            Tensor tensor = allocate(DType.U8, bytes.length);
            tensor.segment().asByteBuffer().put(bytes);
            return tensor;
        }
    }

    @Test
    void refusesOneScaleOverMoreThanAnArrayHolds() {
        try (Arena arena = Arena.ofShared()) {
            Maker maker = new Maker(arena);
            Tensor shape = maker.allocate(DType.I64, 2);
            shape.segment().set(Tensor.LONG, 0, 1L << 20);
            shape.segment().set(Tensor.LONG, 8, 1L << 20);
            Map<String, Tensor> tensors =
                    Map.of(
                            "w.W_q",
                            maker.allocate(DType.U8, 16, 64),
                            "w.scale",
                            maker.number(DType.F32, 1, 1),
                            "w.zero",
                            maker.number(DType.F32, 0, 1),
                            "w.shape",
                            shape,
                            "w.packing",
                            maker.text("8bit_u8"));
            assertThatThrownBy(() -> load(new MapSource(tensors), "w", arena))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("w.shape: expected at most 2147483647 elements under one scale")
                    .hasMessageContaining("[1048576, 1048576]");
        }
    }

    private static void refuses(String key, Replacement replacement, String message) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Tensor dense = HqqInputs.gaussian(arena, 32, 64, 1, 0.02);
            HqqWeight weight = HqqQuantizer.quantize(compute, "w", dense, HqqConfig.of(HqqBits.FOUR, 64, 1), arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>(weight.tensors("w", arena));
            Tensor other = replacement.make(new Maker(arena));
            if (other == null) {
                tensors.remove("w." + key);
            } else {
                tensors.put("w." + key, other);
            }
            assertThatThrownBy(() -> load(new MapSource(tensors), "w", arena))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("memory: w." + message);
        }
    }

    private record MapSource(Map<String, Tensor> tensors) implements TensorSource {
        @Override
        public java.util.Set<String> names() {
            return tensors.keySet();
        }

        @Override
        public Tensor tensor(String name) {
            Tensor tensor = tensors.get(name);
            if (tensor == null) {
                throw missing(name);
            }
            return tensor;
        }

        @Override
        public Map<String, String> metadata() {
            return Map.of();
        }

        @Override
        public String origin() {
            return "memory";
        }
    }
}
