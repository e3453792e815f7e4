package io.vectune.models.decoder;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.RowGroups;
import io.vectune.adapters.Steering;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.RotaryTable;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Several texts going through a model together, each with an adapter of its own or none: the weights are read once for
/// the tokens of all texts.
///
/// For one thread at a time. The texts keep their order; a text that is done simply gets no more tokens.
public final class DecoderBatchSession implements AutoCloseable {
    private final DecoderModel model;
    private final AdaptedEmbedding embedding;
    private final AdaptedNorm norm;
    private final Compute compute;
    private final int[] adapterOfText;
    private final float[] coefficients;
    private final int[] positions;
    private final int capacity;
    private final RotaryTable rotary;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final AdaptedHead head;
    private final AdapterSet mixed;
    private final List<KeyValueCache> caches = new ArrayList<>();
    private final Arena arena = Arena.ofShared();
    private final Matrix logits;
    private boolean closed;

    /// @param adapters sets that texts name by index; they stay open and belong to the caller
    /// @param adapterOfText the set of each text, or [RowGroups#BASE]
    /// @param capacity the most tokens of each text
    public DecoderBatchSession(
            DecoderModel model, List<AdapterSet> adapters, Compute compute, int[] adapterOfText, int capacity) {
        if (adapterOfText.length == 0 || capacity < 1) {
            throw new IllegalArgumentException(
                    "batch session: expected at least one text and a capacity of at least 1, found "
                            + adapterOfText.length
                            + " texts and a capacity of "
                            + capacity);
        }
        DecoderConfig config = model.config();
        this.model = model;
        this.compute = compute;
        this.adapterOfText = adapterOfText.clone();
        this.coefficients = new float[adapterOfText.length];
        Arrays.fill(coefficients, 1);
        this.positions = new int[adapterOfText.length];
        this.capacity = capacity;
        this.rotary = new RotaryTable(config.ropeTheta(), config.headDim(), capacity, config.rotaryScaling());
        this.mixed = AdapterSet.mixed(adapters);
        this.embedding = AdaptedEmbedding.of(model, mixed.adapters());
        this.norm = new AdaptedNorm(DecoderModel.NORM, model.norm(), config.rmsNormEps(), mixed.adapters());
        for (DecoderLayer layer : model.layers()) {
            blocks.add(new DecoderBlock(config, layer, mixed.adapters()));
        }
        this.head = new AdaptedHead(model, mixed.adapters(), arena, 0);
        for (int text = 0; text < adapterOfText.length; text++) {
            caches.add(new KeyValueCache(config, capacity));
        }
        this.logits = Matrix.allocate(arena, adapterOfText.length, config.vocabSize());
    }

    /// Number of texts.
    public int texts() {
        return adapterOfText.length;
    }

    /// Tokens of a text so far.
    public int position(int text) {
        return positions[text];
    }

    /// Steers the adapter of a text, if it can be steered, from the next token on: 1 is the adapter as trained, 0 the
    /// base, -1 the opposite.
    ///
    /// @throws IllegalArgumentException for a text that is not there or a coefficient that is not finite
    public void steer(int text, float coefficient) {
        if (text < 0 || text >= coefficients.length) {
            throw new IllegalArgumentException("text: expected 0 to " + (coefficients.length - 1) + ", found " + text);
        }
        if (!Float.isFinite(coefficient)) {
            throw new IllegalArgumentException("steering: expected a finite coefficient, found " + coefficient);
        }
        coefficients[text] = coefficient;
    }

    /// Appends tokens to the texts and gives the logits after the last token of each.
    ///
    /// @param tokens for each text; an empty array leaves a text, and its row of logits, as it is
    /// @return (texts, vocabSize), overwritten by the next call
    /// @throws IllegalArgumentException if there is no token, no room, or a token outside the vocabulary; all texts are
    ///   as before
    public Matrix append(List<int[]> tokens) {
        List<DecoderBlock.CachedText> texts = new ArrayList<>();
        List<RowGroups.Run> groups = new ArrayList<>();
        int rows = layOut(tokens, texts, groups);
        int[] ids = new int[rows];
        int[] rowPositions = new int[rows];
        int text = 0;
        for (DecoderBlock.CachedText part : texts) {
            while (tokens.get(text).length == 0) {
                text++;
            }
            System.arraycopy(tokens.get(text), 0, ids, part.from(), part.to() - part.from());
            for (int row = part.from(); row < part.to(); row++) {
                rowPositions[row] = part.start() + row - part.from();
            }
            text++;
        }
        CallSeed seed = seedOf(groups, tokens);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            Matrix x = workspace.matrix(rows, model.config().hiddenSize());
            embedding.gather(compute, ids, seed, x);
            for (DecoderBlock block : blocks) {
                block.forwardCached(compute, rotary, rowPositions, texts, seed, x);
            }
            lastLogits(tokens, texts, x);
        } finally {
            workspace.release(mark);
        }
        for (int index = 0; index < positions.length; index++) {
            positions[index] += tokens.get(index).length;
        }
        return logits;
    }

    /// @return rows of all texts together
    private int layOut(List<int[]> tokens, List<DecoderBlock.CachedText> texts, List<RowGroups.Run> groups) {
        if (tokens.size() != adapterOfText.length) {
            throw new IllegalArgumentException(
                    "tokens: expected those of " + adapterOfText.length + " texts, found " + tokens.size());
        }
        int from = 0;
        for (int text = 0; text < adapterOfText.length; text++) {
            int count = tokens.get(text).length;
            if (count > capacity - positions[text]) {
                throw new IllegalArgumentException(
                        "text "
                                + text
                                + ": expected at most "
                                + (capacity - positions[text])
                                + " tokens, the room left in this session of "
                                + capacity
                                + ", found "
                                + count);
            }
            model.requireTokens("text " + text, tokens.get(text));
            if (count > 0) {
                KeyValueCache cache = caches.get(text);
                cache.ensure(positions[text] + count, positions[text]);
                texts.add(new DecoderBlock.CachedText(cache, from, from + count, positions[text]));
                groups.add(new RowGroups.Run(from, from + count, adapterOfText[text]));
                from += count;
            }
        }
        if (from == 0) {
            throw new IllegalArgumentException("tokens: expected at least one token, found none in any text");
        }
        return from;
    }

    /// The seed of rows of which each group belongs to one text that gets tokens, in order.
    private CallSeed seedOf(List<RowGroups.Run> groups, List<int[]> tokens) {
        CallOptions options = CallOptions.INFERENCE.withGroups(new RowGroups(groups));
        float[] ofRows = new float[groups.getLast().to()];
        boolean steered = false;
        int text = 0;
        for (RowGroups.Run group : groups) {
            while (tokens.get(text).length == 0) {
                text++;
            }
            Arrays.fill(ofRows, group.from(), group.to(), coefficients[text]);
            steered |= coefficients[text] != 1;
            text++;
        }
        return CallSeed.inference(steered ? options.withSteering(Steering.ofRows(ofRows)) : options);
    }

    private void lastLogits(List<int[]> tokens, List<DecoderBlock.CachedText> texts, Matrix x) {
        Workspace workspace = compute.workspace();
        Matrix last = workspace.matrix(texts.size(), x.columns());
        for (int index = 0; index < texts.size(); index++) {
            int row = texts.get(index).to() - 1;
            last.rows(index, index + 1).copyFrom(x.rows(row, row + 1));
        }
        Matrix fresh = workspace.matrix(texts.size(), model.config().vocabSize());
        List<RowGroups.Run> groups = new ArrayList<>();
        for (int text = 0; text < tokens.size(); text++) {
            if (tokens.get(text).length > 0) {
                groups.add(new RowGroups.Run(groups.size(), groups.size() + 1, adapterOfText[text]));
            }
        }
        CallSeed seed = seedOf(groups, tokens);
        norm.forward(compute, last, last, null, seed);
        head.forward(compute, last, fresh, seed);
        int index = 0;
        for (int text = 0; text < tokens.size(); text++) {
            if (tokens.get(text).length > 0) {
                logits.rows(text, text + 1).copyFrom(fresh.rows(index, index + 1));
                index++;
            }
        }
    }

    /// Frees the caches. Idempotent.
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        caches.forEach(KeyValueCache::close);
        mixed.close();
        arena.close();
    }
}
