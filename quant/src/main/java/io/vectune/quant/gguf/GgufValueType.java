package io.vectune.quant.gguf;

/// Types of metadata values, in the order of the numbers that files hold.
public enum GgufValueType {
    UINT8(1),
    INT8(1),
    UINT16(2),
    INT16(2),
    UINT32(4),
    INT32(4),
    FLOAT32(4),
    BOOL(1),
    STRING(0),
    ARRAY(0),
    UINT64(8),
    INT64(8),
    FLOAT64(8);

    private final int bytes;

    GgufValueType(int bytes) {
        this.bytes = bytes;
    }

    /// Bytes of one value; 0 for strings and arrays, which say their own length.
    public int bytes() {
        return bytes;
    }

    /// Whether values are whole numbers.
    public boolean isInteger() {
        return switch (this) {
            case UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64 -> true;
            case FLOAT32, BOOL, STRING, ARRAY, FLOAT64 -> false;
        };
    }

    /// Whether values are numbers.
    public boolean isNumber() {
        return isInteger() || this == FLOAT32 || this == FLOAT64;
    }
}
