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
    private Storage storage;

    KeyValueCache(DecoderConfig config, int capacity) {
        this.config = config;
        this.capacity = capacity;
        this.storage = new Storage(config, 0);
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
        int allocated = storage.tokens;
        if (tokens > allocated) {
            int size = Math.min(capacity, Math.max(Math.max(tokens, FIRST_TOKENS), 2 * allocated));
            Storage larger = new Storage(config, size);
            larger.copyFrom(storage, filled);
            storage.arena.close();
            storage = larger;
        }
    }

    /// (allocated tokens, keyValueSize), rotated.
    Matrix keys(int layer) {
        return storage.keys.get(layer);
    }

    /// (allocated tokens, keyValueSize).
    Matrix values(int layer) {
        return storage.values.get(layer);
    }

    @Override
    public void close() {
        storage.arena.close();
    }

    /// Memory for a number of tokens.
    private static final class Storage {
        private final Arena arena = Arena.ofShared();
        private final List<Matrix> keys = new ArrayList<>();
        private final List<Matrix> values = new ArrayList<>();
        private final int tokens;

        private Storage(DecoderConfig config, int tokens) {
            this.tokens = tokens;
            for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
                keys.add(Matrix.allocate(arena, tokens, config.keyValueSize()));
                values.add(Matrix.allocate(arena, tokens, config.keyValueSize()));
            }
        }

        private void copyFrom(Storage other, int filled) {
            for (int layer = 0; layer < keys.size(); layer++) {
                keys.get(layer).rows(0, filled).copyFrom(other.keys.get(layer).rows(0, filled));
                values.get(layer).rows(0, filled).copyFrom(other.values.get(layer).rows(0, filled));
            }
        }
    }
}
