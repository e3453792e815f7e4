package io.vectune.quant.hqq;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// Makes a weight of the dictionary of a layer, after checking it.
///
/// Optional entries have hqq's defaults. Refused: a shape, axis, group size or packing that do not fit together, packed
/// words of another length or type, scales and zero points that are missing, of another number or not finite, codes
/// above the largest of their width.
final class HqqStateReader {
    private static final String DAMAGED = "; the file is damaged: fetch it or quantize the model again";
    private static final List<DType> COMPUTE_TYPES = List.of(DType.F32, DType.F16, DType.BF16);

    private final HqqState state;
    private final Arena arena;

    private HqqStateReader(HqqState state, Arena arena) {
        this.state = state;
        this.arena = arena;
    }

    /// The weight of a layer.
    static HqqWeight read(HqqState state, Arena arena) {
        HqqStateReader reader = new HqqStateReader(state, arena);
        Tensor packed =
                state.tensor("W_q")
                        .orElseThrow(() -> new FileFormatException(state.where("W_q") + ": the tensor is missing"));
        return reader.weight(packed, "W_q", true);
    }

    private HqqWeight weight(Tensor packed, String packedKey, boolean mayNest) {
        HqqPacking packing = packing();
        HqqBits bits = bits(packing);
        HqqGeometry geometry = geometry(packing);
        boolean viewAsFloat = flag("view_as_float", false);
        checkPacked(packed, packedKey, geometry, viewAsFloat);
        DType computeDtype = computeDtype();
        HqqMeta scale = meta("scale", geometry, computeDtype, mayNest);
        HqqMeta zero = meta("zero", geometry, computeDtype, mayNest);
        HqqConfig config =
                new HqqConfig(
                        bits,
                        geometry.groupSize(),
                        geometry.axis(),
                        flag("optimize", true),
                        flag("round_zero", bits == HqqBits.FOUR),
                        false,
                        computeDtype,
                        scale.config(),
                        zero.config(),
                        viewAsFloat);
        HqqWeight weight = new HqqWeight(config, geometry, packed.segment(), scale, zero);
        checkCodes(weight, packedKey);
        return weight;
    }

    private HqqPacking packing() {
        String key = state.text("packing").orElseThrow(() -> missing("packing"));
        return HqqPacking.ofKey(key)
                .orElseThrow(() ->
                        new FileFormatException(
                                state.where("packing")
                                        + ": expected one of "
                                        + Arrays.stream(HqqPacking.values()).map(HqqPacking::key).toList()
                                        + ", found "
                                        + key));
    }

    /// hqq reads 1.58 back as 1: the packing tells them apart.
    private HqqBits bits(HqqPacking packing) {
        Optional<String> nbits = state.number("nbits");
        for (HqqBits bits : HqqBits.values()) {
            if (bits.packing() == packing && (nbits.isEmpty() || nbits.get().equals(bits.text()))) {
                return bits;
            }
        }
        if (packing == HqqPacking.U8_2 && nbits.equals(Optional.of("1"))) {
            return HqqBits.TERNARY;
        }
        throw new FileFormatException(
                state.where("nbits")
                        + ": expected a width that "
                        + packing.key()
                        + " packs, found "
                        + nbits.orElse("none"));
    }

    private HqqGeometry geometry(HqqPacking packing) {
        long[] shape = state.sizes("shape").orElseThrow(() -> missing("shape"));
        if (shape.length != 2
                || shape[0] < 1
                || shape[1] < 1
                || shape[0] > Integer.MAX_VALUE
                || shape[1] > Integer.MAX_VALUE) {
            throw new FileFormatException(
                    state.where("shape")
                            + ": expected [outFeatures, inFeatures], both positive, found "
                            + Arrays.toString(shape));
        }
        int axis = integer("axis", 1);
        if (axis != 0 && axis != 1) {
            throw new FileFormatException(state.where("axis") + ": expected 0 or 1, found " + axis);
        }
        boolean wholeTensor = state.number("group_size").isEmpty() && isScalar("scale") && isScalar("zero");
        int groupSize;
        if (wholeTensor) {
            if (packing != HqqPacking.U8_8) {
                throw new FileFormatException(
                        state.where("scale")
                                + ": one scale for the whole tensor is read for 8bit_u8 only, found "
                                + packing.key());
            }
            long elements = Math.multiplyExact(shape[0], shape[1]);
            if (elements > Integer.MAX_VALUE) {
                throw new FileFormatException(
                        state.where("shape")
                                + ": expected at most "
                                + Integer.MAX_VALUE
                                + " elements under one scale, found "
                                + Arrays.toString(shape));
            }
            groupSize = (int) elements;
            axis = 1;
        } else {
            groupSize = integer("group_size", (int) (axis == 1 ? shape[1] : shape[0]));
        }
        try {
            return new HqqGeometry((int) shape[0], (int) shape[1], groupSize, axis, packing);
        } catch (VectuneException refused) {
            throw new FileFormatException(state.where("group_size") + ": " + refused.getMessage(), refused);
        }
    }

    private boolean isScalar(String key) {
        return state.tensor(key).map(tensor -> tensor.elements() == 1).orElse(false);
    }

    private void checkPacked(Tensor packed, String key, HqqGeometry geometry, boolean viewAsFloat) {
        boolean type =
                viewAsFloat ? COMPUTE_TYPES.contains(packed.dtype()) : packed.dtype() == geometry.packing().wordType();
        if (!type || packed.byteSize() != geometry.packedBytes()) {
            throw new FileFormatException(
                    state.where(key)
                            + ": expected "
                            + (viewAsFloat ? "floats over " : geometry.packing().wordType() + " of ")
                            + geometry.packedBytes()
                            + " bytes for "
                            + geometry.packing().key()
                            + " of ["
                            + geometry.outFeatures()
                            + ", "
                            + geometry.inFeatures()
                            + "], found "
                            + packed
                            + DAMAGED);
        }
    }

    private DType computeDtype() {
        Optional<String> name = state.text("compute_dtype");
        if (name.isEmpty()) {
            return state.tensor("scale").map(Tensor::dtype).filter(COMPUTE_TYPES::contains).orElse(DType.F16);
        }
        for (DType type : COMPUTE_TYPES) {
            if (HqqStateDict.torchName(type).equals(name.get())) {
                return type;
            }
        }
        throw new FileFormatException(
                state.where("compute_dtype")
                        + ": expected torch.float32, torch.float16 or torch.bfloat16, found "
                        + name.get());
    }

    private HqqMeta meta(String what, HqqGeometry geometry, DType computeDtype, boolean mayNest) {
        if (mayNest && flag("quant_" + what, false)) {
            return nested(what, geometry);
        }
        Optional<Tensor> stacked = mayNest ? state.tensor("zero_scale") : Optional.empty();
        Tensor values =
                stacked.map(both -> half(both, what.equals("zero") ? 0 : 1))
                        .orElseGet(() -> state.tensor(what).orElseThrow(() -> missing(what)));
        if (!COMPUTE_TYPES.contains(values.dtype()) || values.elements() != geometry.groups()) {
            throw new FileFormatException(
                    state.where(what)
                            + ": expected "
                            + geometry.groups()
                            + " values in F32, F16 or BF16, one a group, found "
                            + values
                            + DAMAGED);
        }
        requireFinite(what, values);
        if (values.dtype() != computeDtype) {
            values = converted(what, values, computeDtype);
        }
        return HqqMeta.plain(arena, values.reshape(geometry.parameterShape()));
    }

    private HqqMeta nested(String what, HqqGeometry geometry) {
        String nestedKey = "meta_" + what;
        HqqState inner = state.nested(nestedKey).orElseThrow(() -> missing(nestedKey));
        Optional<Tensor> stacked = state.tensor("zero_scale");
        String codesKey = stacked.isPresent() ? "zero_scale" : what + "_q";
        Tensor codes =
                stacked.map(both -> half(both, what.equals("zero") ? 0 : 1))
                        .orElseGet(() -> state.tensor(codesKey).orElseThrow(() -> missing(codesKey)));
        HqqWeight weight = new HqqStateReader(inner, arena).weight(codes, codesKey, false);
        if (weight.geometry().elements() != geometry.groups()) {
            throw new FileFormatException(
                    inner.where("shape")
                            + ": expected "
                            + geometry.groups()
                            + " values, one a group, found "
                            + weight.geometry().elements()
                            + DAMAGED);
        }
        return HqqMeta.quantized(arena, weight);
    }

    /// hqq stacks zero points and scales in one tensor when it offloads them: zero points first.
    private Tensor half(Tensor both, int index) {
        if (both.axes() < 2 || both.size(0) != 2) {
            throw new FileFormatException(
                    state.where("zero_scale") + ": expected a first axis of 2 (zero points, scales), found " + both);
        }
        long[] shape = both.shape();
        long bytes = both.byteSize() / 2;
        return Tensor.of(
                both.dtype(), Arrays.copyOfRange(shape, 1, shape.length), both.segment().asSlice(index * bytes, bytes));
    }

    private void requireFinite(String what, Tensor values) {
        for (long i = 0; i < values.elements(); i++) {
            if (!Float.isFinite(values.getFloat(i))) {
                throw new FileFormatException(
                        state.where(what)
                                + ": expected finite values, found "
                                + values.getFloat(i)
                                + " at group "
                                + i
                                + DAMAGED);
            }
        }
    }

    private Tensor converted(String what, Tensor values, DType type) {
        Tensor result = Tensor.allocate(arena, type, values.shape());
        for (long i = 0; i < values.elements(); i++) {
            FloatCast.set(result, i, values.getFloat(i));
        }
        requireFinite(what, result);
        return result;
    }

    /// Codes above the largest of their width can only be where the packing has room for them.
    private void checkCodes(HqqWeight weight, String key) {
        HqqPacking packing = weight.geometry().packing();
        int maxCode = weight.bits().maxCode();
        if (packing == HqqPacking.I32_3) {
            MemorySegment words = weight.packed();
            for (long word = 0; word < weight.geometry().words(); word++) {
                if (words.get(Tensor.INT, 4 * word) >>> 30 != 0) {
                    throw new FileFormatException(
                            state.where(key) + ": expected 30 bits a word, found more in word " + word + DAMAGED);
                }
            }
        } else if (maxCode < packing.mask()) {
            HqqCodes codes = weight.codes();
            for (long flat = 0; flat < weight.geometry().elements(); flat++) {
                if (codes.code(flat) > maxCode) {
                    throw new FileFormatException(
                            state.where(key)
                                    + ": expected codes up to "
                                    + maxCode
                                    + " for "
                                    + weight.bits().text()
                                    + " bits, found "
                                    + codes.code(flat)
                                    + " at ["
                                    + flat / weight.inFeatures()
                                    + ", "
                                    + flat % weight.inFeatures()
                                    + "]"
                                    + DAMAGED);
                }
            }
        }
    }

    private int integer(String key, int absent) {
        Optional<String> number = state.number(key);
        if (number.isEmpty()) {
            return absent;
        }
        try {
            return Integer.parseInt(number.get());
        } catch (NumberFormatException notAnInteger) {
            throw new FileFormatException(
                    state.where(key) + ": expected an integer, found " + number.get(), notAnInteger);
        }
    }

    private boolean flag(String key, boolean absent) {
        return switch (integer(key, absent ? 1 : 0)) {
            case 0 -> false;
            case 1 -> true;
            default ->
                    throw new FileFormatException(
                            state.where(key) + ": expected 0 or 1, found " + state.number(key).orElse("nothing"));
        };
    }

    private FileFormatException missing(String key) {
        return new FileFormatException(state.where(key) + ": missing, but the layer is stored by hqq");
    }
}
