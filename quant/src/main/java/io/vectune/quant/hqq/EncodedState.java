package io.vectune.quant.hqq;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.math.BigDecimal;
import java.util.Optional;

/// An [HqqState] whose numbers, flags and texts are tensors, as [HqqStateDict] encodes them.
///
/// @param source where the tensors are
/// @param prefix what all names of the layer start with, the dot included
record EncodedState(TensorSource source, String prefix) implements HqqState {
    private static final int LONGEST_TEXT = 64;

    @Override
    public String where(String key) {
        return source.origin() + ": " + prefix + key;
    }

    @Override
    public Optional<Tensor> tensor(String key) {
        return source.find(prefix + key);
    }

    @Override
    public Optional<String> number(String key) {
        return tensor(key)
                .map(tensor -> {
                    if (tensor.elements() != 1) {
                        throw unexpected(key, "one number", tensor);
                    }
                    return switch (tensor.dtype()) {
                        case U8, BOOL -> Integer.toString(tensor.segment().get(Tensor.BYTE, 0) & 0xFF);
                        case I32 -> Integer.toString(tensor.segment().get(Tensor.INT, 0));
                        case I64 -> Long.toString(tensor.segment().get(Tensor.LONG, 0));
                        case F32, F16, BF16, F64 -> plain(key, tensor.getFloat(0));
                        default -> throw unexpected(key, "a number", tensor);
                    };
                });
    }

    private String plain(String key, float value) {
        if (!Float.isFinite(value)) {
            throw new FileFormatException(where(key) + ": expected a finite number, found " + value);
        }
        return new BigDecimal(Float.toString(value)).stripTrailingZeros().toPlainString();
    }

    @Override
    public Optional<String> text(String key) {
        return tensor(key)
                .map(tensor -> {
                    if (tensor.dtype() != DType.U8 || tensor.axes() != 1 || tensor.elements() > LONGEST_TEXT) {
                        throw unexpected(key, "a short text as U8[length]", tensor);
                    }
                    StringBuilder text = new StringBuilder();
                    for (int i = 0; i < tensor.elements(); i++) {
                        int character = tensor.segment().get(Tensor.BYTE, i);
                        if (character < 0x20 || character > 0x7e) {
                            throw new FileFormatException(
                                    where(key) + ": expected ASCII text, found the byte " + (character & 0xFF));
                        }
                        text.append((char) character);
                    }
                    return text.toString();
                });
    }

    @Override
    public Optional<long[]> sizes(String key) {
        return tensor(key)
                .map(tensor -> {
                    if (tensor.dtype() != DType.I64 || tensor.axes() != 1 || tensor.elements() > 8) {
                        throw unexpected(key, "sizes as I64[axes]", tensor);
                    }
                    long[] sizes = new long[(int) tensor.elements()];
                    for (int i = 0; i < sizes.length; i++) {
                        sizes[i] = tensor.segment().get(Tensor.LONG, 8L * i);
                    }
                    return sizes;
                });
    }

    @Override
    public Optional<HqqState> nested(String key) {
        String inner = prefix + key + ".";
        return source.contains(inner + "shape") ? Optional.of(new EncodedState(source, inner)) : Optional.empty();
    }

    private FileFormatException unexpected(String key, String expected, Tensor found) {
        return new FileFormatException(where(key) + ": expected " + expected + ", found " + found);
    }
}
