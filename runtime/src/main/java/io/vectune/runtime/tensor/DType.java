package io.vectune.runtime.tensor;

import java.util.Locale;
import java.util.Optional;

/// Element types, spelled as safetensors spells them.
public enum DType {
    F64(8),
    F32(4),
    F16(2),
    BF16(2),
    I64(8),
    I32(4),
    I16(2),
    I8(1),
    U64(8),
    U32(4),
    U16(2),
    U8(1),
    F8_E4M3(1),
    F8_E5M2(1),
    F8_E8M0(1),
    F8_E4M3FNUZ(1),
    F8_E5M2FNUZ(1),
    C64(8),
    BOOL(1);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /// Bytes of one element.
    public int bytes() {
        return bytes;
    }

    /// Whether tensors of this type hold numbers that a dense weight can be made of (F64, F32, F16, BF16).
    public boolean isFloat() {
        return this == F64 || this == F32 || this == F16 || this == BF16;
    }

    /// The type of that safetensors name, if it is known.
    public static Optional<DType> ofName(String name) {
        for (DType type : values()) {
            if (type.name().equals(name.toUpperCase(Locale.ROOT))) {
                return Optional.of(type);
            }
        }
        return Optional.empty();
    }
}
