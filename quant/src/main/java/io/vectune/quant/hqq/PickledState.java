package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// An [HqqState] of plain values: the dictionary that hqq keeps in memory, read from a pickle.
///
/// @param origin what messages call the file
/// @param name name of the layer, and of the inner dictionary if this is one
/// @param values the entries
record PickledState(String origin, String name, Map<String, Object> values) implements HqqState {
    @Override
    public String where(String key) {
        return origin + ": " + name + "." + key;
    }

    @Override
    public Optional<Tensor> tensor(String key) {
        return values.get(key) instanceof Tensor tensor ? Optional.of(tensor) : Optional.empty();
    }

    @Override
    public Optional<String> number(String key) {
        return switch (values.get(key)) {
            case Long number -> Optional.of(Long.toString(number));
            case Boolean flag -> Optional.of(flag ? "1" : "0");
            case Double number when Double.isFinite(number) ->
                    Optional.of(BigDecimal.valueOf(number).stripTrailingZeros().toPlainString());
            case null, default -> Optional.empty();
        };
    }

    @Override
    public Optional<String> text(String key) {
        return switch (values.get(key)) {
            case String text -> Optional.of(text);
            case DType type -> Optional.of(HqqStateDict.torchName(type));
            case null, default -> Optional.empty();
        };
    }

    @Override
    public Optional<long[]> sizes(String key) {
        if (values.get(key) instanceof List<?> list && list.stream().allMatch(Long.class::isInstance)) {
            return Optional.of(list.stream().mapToLong(size -> (Long) size).toArray());
        }
        return Optional.empty();
    }

    @Override
    public Optional<HqqState> nested(String key) {
        return dictionary(values.get(key)).map(inner -> new PickledState(origin, name + "." + key, inner));
    }

    /// A value as a dictionary, if it is one.
    @SuppressWarnings("unchecked") // dictionaries of a pickle have text as keys
    static Optional<Map<String, Object>> dictionary(@Nullable Object value) {
        return value instanceof Map<?, ?> map ? Optional.of((Map<String, Object>) map) : Optional.empty();
    }
}
