package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Steering;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.RotaryTable;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/// One text going through a model: its key/value cache and its position.
///
/// For one thread at a time. Model and adapters are shared; many sessions can run over them, each with its own
/// [Compute].
public final class DecoderSession implements AutoCloseable {
    /// Tokens of a prompt that go through the model together.
    private static final int CHUNK = 512;

    private final DecoderModel model;
    private final AdaptedEmbedding embedding;
    private final AdaptedNorm norm;
    private final Compute compute;
    private final int capacity;
    private final RotaryTable rotary;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final AdaptedHead head;
    private final KeyValueCache cache;
    private final Arena arena = Arena.ofShared();
    private final Matrix logits;
    private CallSeed seed = CallSeed.INFERENCE;
    private int position;
    private boolean closed;

    /// @param adapters by the name of the linear layer they sit on; empty for the base model
    /// @param compute of this session alone
    /// @param capacity the most tokens of the text, prompt and continuation together
    public DecoderSession(DecoderModel model, Map<String, Adapter> adapters, Compute compute, int capacity) {
        if (capacity < 1) {
            throw new IllegalArgumentException("capacity: expected at least 1, found " + capacity);
        }
        DecoderConfig config = model.config();
        this.embedding = AdaptedEmbedding.of(model, adapters);
        this.norm = new AdaptedNorm(DecoderModel.NORM, model.norm(), config.rmsNormEps(), adapters);
        this.model = model;
        this.compute = compute;
        this.capacity = capacity;
        this.rotary = new RotaryTable(config.ropeTheta(), config.headDim(), capacity, config.rotaryScaling());
        for (DecoderLayer layer : model.layers()) {
            blocks.add(new DecoderBlock(config, layer, adapters));
        }
        this.head = new AdaptedHead(model, adapters, arena, 0);
        this.cache = new KeyValueCache(config, capacity);
        this.logits = Matrix.allocate(arena, 1, config.vocabSize());
    }

    /// Tokens that the cache holds.
    public int position() {
        return position;
    }

    /// The most tokens that the session takes.
    public int capacity() {
        return capacity;
    }

    /// Steers the adapters that can be steered, from the next token on: 1 is the adapter as trained, 0 the base, -1 the
    /// opposite.
    public void steer(float coefficient) {
        seed = CallSeed.inference(CallOptions.INFERENCE.withSteering(Steering.of(coefficient)));
    }

    /// Forgets the tokens from `newPosition` on; 0 starts a new text.
    public void rewind(int newPosition) {
        if (newPosition < 0 || newPosition > position) {
            throw new IllegalArgumentException("position: expected 0 to " + position + ", found " + newPosition);
        }
        position = newPosition;
    }

    /// Appends tokens and gives the logits after the last one.
    ///
    /// @return (1, vocabSize), overwritten by the next call
    /// @throws IllegalArgumentException if there is no token, no room, or a token outside the vocabulary; the session
    ///   is as before
    public Matrix append(int... tokens) {
        require(tokens);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            for (int from = 0; from < tokens.length; from += CHUNK) {
                int to = Math.min(tokens.length, from + CHUNK);
                Matrix x = forward(Arrays.copyOfRange(tokens, from, to));
                if (to == tokens.length) {
                    logitsOf(x.rows(x.rows() - 1, x.rows()), logits);
                }
                workspace.release(mark);
            }
        } finally {
            workspace.release(mark);
        }
        return logits;
    }

    /// Appends tokens and writes the logits after each of them.
    ///
    /// @param all (tokens, vocabSize), overwritten
    public void appendAll(int[] tokens, Matrix all) {
        require(tokens);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            for (int from = 0; from < tokens.length; from += CHUNK) {
                int to = Math.min(tokens.length, from + CHUNK);
                Matrix x = forward(Arrays.copyOfRange(tokens, from, to));
                logitsOf(x, all.rows(from, to));
                workspace.release(mark);
            }
        } finally {
            workspace.release(mark);
        }
    }

    private void require(int[] tokens) {
        if (tokens.length < 1 || tokens.length > capacity - position) {
            throw new IllegalArgumentException(
                    "tokens: expected 1 to "
                            + (capacity - position)
                            + ", the room left in this session of "
                            + capacity
                            + ", found "
                            + tokens.length);
        }
        model.requireTokens("tokens", tokens);
    }

    private Matrix forward(int[] tokens) {
        cache.ensure(position + tokens.length, position);
        int[] positions = new int[tokens.length];
        Arrays.setAll(positions, index -> position + index);
        Matrix x = compute.workspace().matrix(tokens.length, model.config().hiddenSize());
        embedding.gather(compute, tokens, seed, x);
        List<DecoderBlock.CachedText> text = List.of(new DecoderBlock.CachedText(cache, 0, tokens.length, position));
        for (DecoderBlock block : blocks) {
            block.forwardCached(compute, rotary, positions, text, seed, x);
        }
        position += tokens.length;
        return x;
    }

    private void logitsOf(Matrix x, Matrix result) {
        Matrix normed = compute.workspace().matrix(x.rows(), x.columns());
        norm.forward(compute, x, normed, null, seed);
        head.forward(compute, normed, result, seed);
    }

    /// Bytes that a session of that capacity needs at most, beside the model: the cache and the temporaries of a chunk.
    public static long memoryBytes(DecoderConfig config, int capacity) {
        long chunk = Math.min(CHUNK, capacity);
        long perToken =
                4L * config.hiddenSize()
                        + 2L * config.querySize()
                        + 2L * config.keyValueSize()
                        + 3L * config.intermediateSize();
        return KeyValueCache.bytes(config, capacity) + 4 * (chunk * perToken + config.vocabSize());
    }

    /// Frees the cache. Idempotent.
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        cache.close();
        arena.close();
    }
}
