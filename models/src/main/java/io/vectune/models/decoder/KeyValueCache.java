package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/// Keys and values of the tokens seen so far, per layer, in f32. Grows by doubling up to its capacity.
final class KeyValueCache implements AutoCloseable {
    private static final int FIRST_TOKENS = 128;

    private final DecoderConfig config;
    private final int capacity;
    private Arena arena = Arena.ofShared();
    private List<Matrix> keys = List.of();
    private List<Matrix> values = List.of();
    private int allocated;

    KeyValueCache(DecoderConfig config, int capacity) {
        this.config = config;
        this.capacity = capacity;
    }

    /// Tokens that the cache can ever hold.
    int capacity() {
        return capacity;
    }

    /// Bytes of a full cache.
    static long bytes(DecoderConfig config, int capacity) {
        return 2L * Float.BYTES * config.numHiddenLayers() * config.keyValueSize() * capacity;
    }

    /// Makes room for `tokens` tokens, the content of the first `filled` kept.
    void ensure(int tokens, int filled) {
        if (tokens <= allocated) {
            return;
        }
        int size = Math.min(capacity, Math.max(Math.max(tokens, FIRST_TOKENS), 2 * allocated));
        Arena larger = Arena.ofShared();
        keys = moved(larger, keys, size, filled);
        values = moved(larger, values, size, filled);
        arena.close();
        arena = larger;
        allocated = size;
    }

    private List<Matrix> moved(Arena larger, List<Matrix> old, int size, int filled) {
        List<Matrix> fresh = new ArrayList<>();
        for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
            Matrix matrix = Matrix.allocate(larger, size, config.keyValueSize());
            if (filled > 0) {
                matrix.rows(0, filled).copyFrom(old.get(layer).rows(0, filled));
            }
            fresh.add(matrix);
        }
        return fresh;
    }

    /// (allocated tokens, keyValueSize), rotated.
    Matrix keys(int layer) {
        return keys.get(layer);
    }

    /// (allocated tokens, keyValueSize).
    Matrix values(int layer) {
        return values.get(layer);
    }

    @Override
    public void close() {
        arena.close();
    }
}
