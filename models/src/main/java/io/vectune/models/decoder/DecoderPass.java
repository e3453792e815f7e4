package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.CrossEntropy;
import io.vectune.runtime.nn.OutputHead;
import io.vectune.runtime.nn.RotaryTable;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// Whole sequences through a model with adapters: the loss, and the gradients of the adapters' parameters.
///
/// All activations are allocated once, for the largest batch. Layers below the lowest adapter keep nothing and are not
/// gone through backward. With checkpointing only the input of each layer is kept and the layer is computed again in
/// backward, to the same bits. For one thread at a time; model and adapters are shared.
public final class DecoderPass implements AutoCloseable {
    private final DecoderModel model;
    private final AdaptedEmbedding embedding;
    private final AdaptedNorm norm;
    private final Compute compute;
    private final PassLimits limits;
    private final boolean gradients;
    private final boolean checkpointing;
    private final RotaryTable rotary;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final AdaptedHead head;
    private final Arena arena = Arena.ofShared();

    /// The lowest layer with an adapter; the number of layers if there is none, or no gradient is wanted.
    private final int lowest;

    /// Residual streams: the inputs of the layers from `lowest` on, and the output of the last one. Below, two take
    /// turns.
    private final List<Matrix> residuals = new ArrayList<>();

    private final List<LayerBuffers> buffers = new ArrayList<>();
    private final Matrix finalRms;
    private final long activationBytes;
    private boolean closed;

    private DecoderPass(
            DecoderModel model,
            Map<String, Adapter> adapters,
            Compute compute,
            PassLimits limits,
            boolean gradients,
            boolean checkpointing) {
        DecoderConfig config = model.config();
        this.embedding = AdaptedEmbedding.of(model, adapters);
        this.norm = new AdaptedNorm(DecoderModel.NORM, model.norm(), config.rmsNormEps(), adapters);
        this.model = model;
        this.compute = compute;
        this.limits = limits;
        this.gradients = gradients;
        this.checkpointing = checkpointing;
        this.rotary =
                new RotaryTable(config.ropeTheta(), config.headDim(), limits.sequenceLength(), config.rotaryScaling());
        for (DecoderLayer layer : model.layers()) {
            blocks.add(new DecoderBlock(config, layer, adapters));
        }
        int slice = Math.min(limits.tokens(), CrossEntropy.sliceRows(config.vocabSize()));
        this.head = new AdaptedHead(model, adapters, arena, gradients ? slice : 0);
        this.lowest = gradients ? lowestAdapted(blocks, adapters) : blocks.size();
        for (int layer = 0; layer <= blocks.size(); layer++) {
            residuals.add(
                    layer >= lowest || layer < 2
                            ? Matrix.allocate(arena, limits.tokens(), config.hiddenSize())
                            : residuals.get(layer - 2));
        }
        List<Long> shared = mostSaved(blocks.subList(lowest, blocks.size()), limits.tokens());
        LayerBuffers common = null;
        long saved = 0;
        for (int layer = 0; layer < blocks.size(); layer++) {
            boolean own = layer >= lowest && !checkpointing;
            if (own) {
                List<Long> floats = blocks.get(layer).savedFloats(limits.tokens());
                saved += sum(floats);
                buffers.add(LayerBuffers.allocate(arena, config, limits.tokens(), saved(floats)));
            } else {
                if (common == null) {
                    // Without a backward pass adapters keep nothing.
                    boolean keeps = lowest < blocks.size();
                    saved += keeps ? sum(shared) : 0;
                    common =
                            LayerBuffers.allocate(
                                    arena, config, limits.tokens(), keeps ? saved(shared) : LayerBuffers.Saved.NOTHING);
                }
                buffers.add(common);
            }
        }
        this.finalRms = Matrix.allocate(arena, limits.tokens(), 1);
        this.activationBytes = activationBytes(config, limits, lowest, gradients, checkpointing) + 4 * saved;
    }

    /// A pass for training.
    ///
    /// @param adapters by the name of the linear layer they sit on
    /// @param checkpointing computes layers again in backward instead of keeping their activations
    public static DecoderPass forTraining(
            DecoderModel model,
            Map<String, Adapter> adapters,
            Compute compute,
            PassLimits limits,
            boolean checkpointing) {
        return new DecoderPass(model, adapters, compute, limits, true, checkpointing);
    }

    /// A pass for losses alone: keeps nothing for backward.
    public static DecoderPass forEvaluation(
            DecoderModel model, Map<String, Adapter> adapters, Compute compute, PassLimits limits) {
        return new DecoderPass(model, adapters, compute, limits, false, false);
    }

    /// The summed loss of a batch's labelled tokens, without gradients and without dropout.
    public double loss(SequenceBatch batch) {
        CallSeed seed = CallSeed.inference(batch.options());
        return loss(batch, seed, head.with(seed, Map.of(), batch.targets()));
    }

    private double loss(SequenceBatch batch, CallSeed seed, OutputHead outputHead) {
        check(batch);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            forward(batch, seed);
            return CrossEntropy.loss(compute, outputHead, finalNorm(batch.tokens(), seed), batch.targets());
        } finally {
            workspace.release(mark);
        }
    }

    /// Runs the layers over a batch and no more, for adapters that watch their inputs. The output head is not run.
    public void observe(SequenceBatch batch) {
        check(batch);
        long mark = compute.workspace().mark();
        try {
            forward(batch, CallSeed.inference(batch.options()));
        } finally {
            compute.workspace().release(mark);
        }
    }

    /// What a batch without gradients gives.
    ///
    /// @param lossSum over the labelled tokens
    /// @param exactRows rows with labels of which every labelled token is the most probable one
    public record Score(double lossSum, int exactRows) {}

    /// The summed loss of a batch and how many of its rows are predicted exactly, without dropout.
    public Score score(SequenceBatch batch) {
        CallSeed seed = CallSeed.inference(batch.options());
        MostProbable head = new MostProbable(this.head.with(seed, Map.of(), batch.targets()), batch.labelledTokens());
        double loss = loss(batch, seed, head);
        int[] targets = batch.targets();
        int predicted = 0;
        int exact = 0;
        for (SequenceBatch.Run run : batch.runs()) {
            for (int row = 0; row < run.rows(); row++) {
                int from = run.from() + row * run.length();
                boolean labelled = false;
                boolean all = true;
                for (int token = from; token < from + run.length(); token++) {
                    if (targets[token] != CrossEntropy.IGNORED) {
                        labelled = true;
                        all &= head.token(predicted++) == targets[token];
                    }
                }
                exact += labelled && all ? 1 : 0;
            }
        }
        return new Score(loss, exact);
    }

    /// The summed loss of a batch's labelled tokens; adds the gradient of `lossScale` times that sum to `gradients`.
    ///
    /// @param lossScale 1 / labelled tokens of the whole step
    /// @param seed of the dropout masks: different for each batch of a run
    /// @throws IllegalStateException if the pass was made for evaluation
    public double lossAndGradients(SequenceBatch batch, double lossScale, long seed, AdapterGradients gradients) {
        if (!this.gradients) {
            throw new IllegalStateException("the pass was made for evaluation: it keeps nothing for gradients");
        }
        check(batch);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        try {
            CallSeed callSeed = CallSeed.training(batch.options(), seed);
            forward(batch, callSeed);
            return backward(batch, lossScale, callSeed, gradients);
        } finally {
            workspace.release(mark);
        }
    }

    private double backward(SequenceBatch batch, double lossScale, CallSeed callSeed, AdapterGradients gradients) {
        int tokens = batch.tokens();
        Workspace workspace = compute.workspace();
        Matrix normed = finalNorm(tokens, callSeed);
        Matrix gradient = workspace.matrix(tokens, model.config().hiddenSize());
        boolean through = lowest < blocks.size();
        double loss =
                CrossEntropy.lossAndGradient(
                        compute,
                        head.with(callSeed, gradients.byModule(), batch.targets()),
                        normed,
                        batch.targets(),
                        lossScale,
                        gradient);
        if (through || norm.isAdapted()) {
            Matrix last = residual(blocks.size(), tokens);
            // A trained scale needs the gradient of the norm's output after that of its input is there.
            Matrix below = norm.isAdapted() ? workspace.matrix(tokens, model.config().hiddenSize()) : gradient;
            Matrix rms = finalRms.rows(0, tokens);
            norm.backward(compute, last, rms, gradient, below, false, callSeed, gradients.byModule());
            backward(batch, callSeed, below, gradients);
        }
        return loss;
    }

    private void forward(SequenceBatch batch, CallSeed seed) {
        int tokens = batch.tokens();
        embedding.gather(compute, batch.tokenIds(), seed, residual(0, tokens));
        for (int layer = 0; layer < blocks.size(); layer++) {
            forwardLayer(layer, batch, seed);
        }
    }

    private void forwardLayer(int layer, SequenceBatch batch, CallSeed seed) {
        int tokens = batch.tokens();
        blocks.get(layer)
                .forward(
                        compute,
                        rotary,
                        batch,
                        seed,
                        residual(layer, tokens),
                        buffers.get(layer).first(tokens),
                        residual(layer + 1, tokens));
    }

    private void backward(SequenceBatch batch, CallSeed seed, Matrix gradient, AdapterGradients gradients) {
        int tokens = batch.tokens();
        for (int layer = blocks.size() - 1; layer >= lowest; layer--) {
            if (checkpointing && layer < blocks.size() - 1) {
                // The shared buffers still hold the last layer's activations, the others are computed again. The
                // layer's output goes to the residual above, which holds these bits already.
                forwardLayer(layer, batch, seed);
            }
            DecoderBlock block = blocks.get(layer);
            block.backward(
                    compute,
                    rotary,
                    batch,
                    seed,
                    residual(layer, tokens),
                    buffers.get(layer).first(tokens),
                    gradient,
                    layer > lowest || embedding.isAdapted() ? DecoderBlock.Reach.INPUT : block.lowestReach(),
                    gradients.byModule());
        }
        embedding.backward(compute, batch.tokenIds(), seed, gradient, gradients);
    }

    private Matrix finalNorm(int tokens, CallSeed seed) {
        Matrix normed = compute.workspace().matrix(tokens, model.config().hiddenSize());
        Matrix last = residual(blocks.size(), tokens);
        norm.forward(compute, last, normed, finalRms.rows(0, tokens), seed);
        return normed;
    }

    private Matrix residual(int layer, int tokens) {
        return residuals.get(layer).rows(0, tokens);
    }

    private void check(SequenceBatch batch) {
        if (batch.tokens() > limits.tokens() || batch.longestRow() > limits.sequenceLength()) {
            throw new IllegalArgumentException(
                    "batch: expected at most "
                            + limits.tokens()
                            + " tokens in rows of at most "
                            + limits.sequenceLength()
                            + ", found "
                            + batch.tokens()
                            + " tokens, the longest row "
                            + batch.longestRow());
        }
        model.requireTokens("batch", batch.tokenIds());
    }

    /// Bytes of activations that this pass holds. Temporaries of the session's workspace come on top.
    public long activationBytes() {
        return activationBytes;
    }

    /// Bytes that training needs beside the model and the optimizer: activations and temporaries. Allocates nothing.
    public static long trainingBytes(
            DecoderModel model, Map<String, Adapter> adapters, PassLimits limits, boolean checkpointing) {
        DecoderConfig config = model.config();
        List<DecoderBlock> blocks = new ArrayList<>();
        for (DecoderLayer layer : model.layers()) {
            blocks.add(new DecoderBlock(config, layer, adapters));
        }
        int lowest = lowestAdapted(blocks, adapters);
        List<DecoderBlock> adapted = blocks.subList(lowest, blocks.size());
        long saved = sum(mostSaved(adapted, limits.tokens()));
        if (!checkpointing) {
            saved += adapted.stream().mapToLong(block -> sum(block.savedFloats(limits.tokens()))).sum();
        }
        return activationBytes(config, limits, lowest, true, checkpointing)
                + 4 * saved
                + temporaryBytes(config, limits.tokens());
    }

    /// What backward of a layer takes from the workspace, or the loss if that is more.
    private static long temporaryBytes(DecoderConfig config, int tokens) {
        long mlp = 2L * config.intermediateSize() + 2L * config.hiddenSize();
        long attention = 3L * config.querySize() + 2L * config.keyValueSize() + 2L * config.hiddenSize();
        long layer = tokens * Math.max(mlp, attention);
        long loss = CrossEntropy.sliceRows(config.vocabSize()) * (config.vocabSize() + 2L * config.hiddenSize());
        return 4 * (2L * tokens * config.hiddenSize() + Math.max(layer, loss));
    }

    private static long activationBytes(
            DecoderConfig config, PassLimits limits, int lowest, boolean gradients, boolean checkpointing) {
        int layers = config.numHiddenLayers();
        long residuals = (long) layers + 1 - lowest + Math.min(lowest, 2);
        long kept = gradients && !checkpointing ? layers - lowest : 0;
        long sets = kept + (lowest > 0 || checkpointing ? 1 : 0);
        return 4L
                * limits.tokens()
                * (residuals * config.hiddenSize() + sets * LayerBuffers.floatsPerToken(config) + 1);
    }

    // The gradient of the embedding has to come down through all layers.
    private static int lowestAdapted(List<DecoderBlock> blocks, Map<String, Adapter> adapters) {
        if (adapters.containsKey(DecoderModel.EMBEDDING)) {
            return 0;
        }
        int layer = 0;
        while (layer < blocks.size() && !blocks.get(layer).isAdapted()) {
            layer++;
        }
        return layer;
    }

    private static List<Long> mostSaved(List<DecoderBlock> blocks, int tokens) {
        List<Long> most = List.of(0L, 0L, 0L, 0L);
        for (DecoderBlock block : blocks) {
            List<Long> floats = block.savedFloats(tokens);
            List<Long> larger = new ArrayList<>();
            for (int index = 0; index < floats.size(); index++) {
                larger.add(Math.max(floats.get(index), most.get(index)));
            }
            most = larger;
        }
        return most;
    }

    private static long sum(List<Long> floats) {
        return floats.stream().mapToLong(Long::longValue).sum();
    }

    private LayerBuffers.Saved saved(List<Long> floats) {
        return new LayerBuffers.Saved(row(floats.get(0)), row(floats.get(1)), row(floats.get(2)), row(floats.get(3)));
    }

    private Matrix row(long floats) {
        return Matrix.allocate(arena, 1, Math.toIntExact(floats));
    }

    /// Frees the activations. Idempotent.
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        arena.close();
    }
}
