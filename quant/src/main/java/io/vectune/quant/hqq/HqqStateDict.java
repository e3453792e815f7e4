package io.vectune.quant.hqq;

import io.vectune.quant.TensorSpec;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;

/// A layer as hqq's `HQQLinear.state_dict()` encodes it for safetensors: 19 tensors.
///
/// | key | type, shape | value |
/// |---|---|---|
/// | `W_q` | U8 or I32 [packed rows, columns]; with `view_as_float` floats that show the same bytes | packed words |
/// | `scale`, `zero` | compute type, (groups, 1) on axis 1, (1, groups) on axis 0 | |
/// | `shape` | I64 [2] | outFeatures, inFeatures |
/// | `nbits`, `group_size`, `axis` | I32 [] (`nbits` of 1.58: F32) | |
/// | `packing`, `unpack_view_dtype`, `compute_dtype` | U8 [length] | ASCII: `4bit_u8`, `torch.uint8`, `torch.float32` |
/// | all others | U8 [] | 0 or 1 |
///
/// hqq refuses to encode quantized scales and zero points. Here they take the place of `scale` or `zero` as `scale_q`
/// (the 8-bit codes) and `meta_scale.KEY`, with the keys of the nested dictionary that hqq keeps in memory. Source:
/// hqq/core/quantize.py (HQQLinear.state_dict), hqq/core/utils.py, 0.2.8.post1.
final class HqqStateDict {
    /// Keys that every layer has, whatever its metadata.
    static final List<String> COMMON_KEYS =
            List.of(
                    "W_q",
                    "nbits",
                    "group_size",
                    "shape",
                    "axis",
                    "packing",
                    "unpack_view_dtype",
                    "view_as_float",
                    "quant_scale",
                    "quant_zero",
                    "compute_dtype",
                    "offload_meta",
                    "encoded_state_dict",
                    "stores_quant_config",
                    "channel_wise",
                    "optimize",
                    "round_zero");

    /// Keys of the nested dictionary of quantized scales or zero points.
    static final List<String> NESTED_KEYS =
            List.of(
                    "nbits",
                    "group_size",
                    "shape",
                    "scale",
                    "zero",
                    "axis",
                    "packing",
                    "unpack_view_dtype",
                    "view_as_float",
                    "compute_dtype");

    private HqqStateDict() {}

    /// Type and shape of `W_q`.
    ///
    /// @throws VectuneException if the words of a row do not show as whole floats
    static TensorSpec packedSpec(HqqGeometry geometry, HqqConfig config) {
        HqqPacking packing = geometry.packing();
        long[] shape = geometry.packedShape();
        if (!config.viewAsFloat()) {
            return TensorSpec.of(packing.wordType(), shape);
        }
        long rowBytes = shape[1] * packing.wordBytes();
        int floatBytes = config.computeDtype().bytes();
        if (rowBytes % floatBytes != 0) {
            throw new VectuneException(
                    "a row of packed words has "
                            + rowBytes
                            + " bytes, which do not show as whole values of "
                            + config.computeDtype().name().toLowerCase(Locale.ROOT)
                            + "; choose another group size");
        }
        return TensorSpec.of(config.computeDtype(), shape[0], rowBytes / floatBytes);
    }

    /// The tensors of a weight, by full name.
    static SequencedMap<String, Tensor> encode(HqqWeight weight, String layer, Arena arena) {
        Encoder to = new Encoder(layer + ".", arena);
        HqqConfig config = weight.config();
        to.tensors.put(layer + ".W_q", weight.packedTensor());
        encodeGeometry(to, weight);
        encodeMeta(to, "scale", weight.scaleMeta(), arena);
        encodeMeta(to, "zero", weight.zeroMeta(), arena);
        to.flag("quant_scale", weight.scaleMeta() instanceof HqqMeta.Quantized);
        to.flag("quant_zero", weight.zeroMeta() instanceof HqqMeta.Quantized);
        to.flag("offload_meta", false);
        to.flag("encoded_state_dict", true);
        to.flag("stores_quant_config", true);
        to.flag("channel_wise", true);
        to.flag("optimize", config.optimize());
        to.flag("round_zero", config.roundZero());
        return to.tensors;
    }

    private static void encodeGeometry(Encoder to, HqqWeight weight) {
        HqqGeometry geometry = weight.geometry();
        if (weight.bits() == HqqBits.TERNARY) {
            to.scalar("nbits", DType.F32).setFloat(0, 1.58f);
        } else {
            to.integer("nbits", Integer.parseInt(weight.bits().text()));
        }
        to.integer("group_size", geometry.groupSize());
        Tensor shape = to.make("shape", DType.I64, 2);
        shape.segment().set(Tensor.LONG, 0, geometry.outFeatures());
        shape.segment().set(Tensor.LONG, 8, geometry.inFeatures());
        to.integer("axis", geometry.axis());
        to.text("packing", geometry.packing().key());
        to.text("unpack_view_dtype", torchName(geometry.packing().wordType()));
        to.flag("view_as_float", weight.config().viewAsFloat());
        to.text("compute_dtype", torchName(weight.computeDtype()));
    }

    private static void encodeMeta(Encoder to, String what, HqqMeta meta, Arena arena) {
        switch (meta) {
            case HqqMeta.Plain plain -> to.tensors.put(to.prefix + what, plain.values());
            case HqqMeta.Quantized quantized -> {
                HqqWeight codes = quantized.weight();
                to.tensors.put(to.prefix + what + "_q", codes.packedTensor());
                Encoder nested = new Encoder(to.prefix + "meta_" + what + ".", arena);
                encodeGeometry(nested, codes);
                encodeMeta(nested, "scale", codes.scaleMeta(), arena);
                encodeMeta(nested, "zero", codes.zeroMeta(), arena);
                to.tensors.putAll(nested.tensors);
            }
        }
    }

    /// Names, types and shapes that [#encode] will give for a layer.
    static SequencedMap<String, TensorSpec> declare(String layer, int outFeatures, int inFeatures, HqqConfig config) {
        SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
        HqqGeometry geometry = config.geometry(outFeatures, inFeatures);
        specs.put(layer + ".W_q", packedSpec(geometry, config));
        declareGeometry(specs, layer + ".", geometry, config);
        declareMeta(specs, layer + ".", "scale", geometry, config.scaleMeta(), config.computeDtype());
        declareMeta(specs, layer + ".", "zero", geometry, config.zeroMeta(), config.computeDtype());
        for (String flag :
                List.of(
                        "quant_scale",
                        "quant_zero",
                        "offload_meta",
                        "encoded_state_dict",
                        "stores_quant_config",
                        "channel_wise",
                        "optimize",
                        "round_zero")) {
            specs.put(layer + "." + flag, TensorSpec.of(DType.U8));
        }
        return specs;
    }

    private static void declareGeometry(
            SequencedMap<String, TensorSpec> specs, String prefix, HqqGeometry geometry, HqqConfig config) {
        specs.put(prefix + "nbits", TensorSpec.of(config.bits() == HqqBits.TERNARY ? DType.F32 : DType.I32));
        specs.put(prefix + "group_size", TensorSpec.of(DType.I32));
        specs.put(prefix + "shape", TensorSpec.of(DType.I64, 2));
        specs.put(prefix + "axis", TensorSpec.of(DType.I32));
        specs.put(prefix + "packing", TensorSpec.of(DType.U8, geometry.packing().key().length()));
        specs.put(
                prefix + "unpack_view_dtype",
                TensorSpec.of(DType.U8, torchName(geometry.packing().wordType()).length()));
        specs.put(prefix + "view_as_float", TensorSpec.of(DType.U8));
        specs.put(prefix + "compute_dtype", TensorSpec.of(DType.U8, torchName(config.computeDtype()).length()));
    }

    private static void declareMeta(
            SequencedMap<String, TensorSpec> specs,
            String prefix,
            String what,
            HqqGeometry geometry,
            HqqMetaConfig meta,
            DType computeDtype) {
        if (meta instanceof HqqMetaConfig.Plain) {
            specs.put(prefix + what, TensorSpec.of(computeDtype, geometry.parameterShape()));
            return;
        }
        HqqConfig config = HqqQuantizer.metaConfig(meta, geometry, computeDtype);
        long[] shape = geometry.parameterShape();
        HqqGeometry nested = config.geometry((int) shape[0], (int) shape[1]);
        specs.put(prefix + what + "_q", packedSpec(nested, config));
        String inner = prefix + "meta_" + what + ".";
        declareGeometry(specs, inner, nested, config);
        specs.put(inner + "scale", TensorSpec.of(computeDtype, nested.parameterShape()));
        specs.put(inner + "zero", TensorSpec.of(computeDtype, nested.parameterShape()));
    }

    /// How torch prints a type: `torch.float16`, ...
    static String torchName(DType type) {
        return switch (type) {
            case F32 -> "torch.float32";
            case F16 -> "torch.float16";
            case BF16 -> "torch.bfloat16";
            case U8 -> "torch.uint8";
            case I32 -> "torch.int32";
            default -> throw new IllegalArgumentException("no name for " + type);
        };
    }

    private static final class Encoder {
        private final String prefix;
        private final Arena arena;
        private final SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();

        private Encoder(String prefix, Arena arena) {
            this.prefix = prefix;
            this.arena = arena;
        }

        private Tensor make(String key, DType type, long... shape) {
            Tensor tensor = Tensor.allocate(arena, type, shape);
            tensors.put(prefix + key, tensor);
            return tensor;
        }

        private Tensor scalar(String key, DType type) {
            return make(key, type);
        }

        private void integer(String key, int value) {
            scalar(key, DType.I32).segment().set(Tensor.INT, 0, value);
        }

        private void flag(String key, boolean value) {
            scalar(key, DType.U8).segment().set(Tensor.BYTE, 0, (byte) (value ? 1 : 0));
        }

        private void text(String key, String value) {
            byte[] bytes = value.getBytes(StandardCharsets.US_ASCII);
            make(key, DType.U8, bytes.length).segment().asByteBuffer().put(bytes);
        }
    }
}
