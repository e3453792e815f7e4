package io.vectune.models.bench;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.bench.SpeedCase.Work;
import io.vectune.models.decoder.DecoderArchitecture;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.decoder.Linear;
import io.vectune.models.eval.Evaluation;
import io.vectune.models.train.BatchPlan;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.TokenRow;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;

/// Cases over a model of the shape of SmolLM2-135M with random weights.
final class SmolLmShape {
    /// Norm weights that keep the activations of uniform weights in [-1, 1) near size one.
    private static final float NORM = 0.05f;

    private static final int RANK = 16;
    private static final int KNOWN = 64;
    private static final double LOSS_TOLERANCE = 1e-4;
    private static final double LOGIT_TOLERANCE = 1e-3;
    private static final DecoderConfig CONFIG =
            new DecoderConfig(
                    DecoderArchitecture.LLAMA,
                    576,
                    1536,
                    30,
                    9,
                    3,
                    64,
                    49_152,
                    8192,
                    1e-5f,
                    100_000,
                    new RotaryScaling.None(),
                    true,
                    false,
                    false,
                    false,
                    false);

    private SmolLmShape() {}

    /// One tuning step: LoRA of rank 16 on all seven linears, AdamW, every token labelled.
    static SpeedCase step(String format, int rows, int rowTokens) {
        String name = String.format(Locale.ROOT, "lora step %s %dx%d", format, rows, rowTokens);
        return new SpeedCase(
                name, Limit.FMA, "tokens", (compute, arena) -> openStep(compute, arena, name, format, rows, rowTokens));
    }

    /// A prompt, from an empty cache to the logits of its last token.
    static SpeedCase prompt(String format, int tokens) {
        String name = String.format(Locale.ROOT, "prompt %s %d tokens", format, tokens);
        return new SpeedCase(
                name,
                Limit.FMA,
                "tokens",
                (compute, arena) -> {
                    DecoderModel model = random(compute, arena, format);
                    DecoderSession session = new DecoderSession(model, Map.of(), compute, tokens);
                    int[] ids = ids(tokens, 3);
                    double cost = 2.0 * tokens * linearWeights(model) + 2.0 * headWeights(model);
                    return new Work(
                            tokens,
                            cost,
                            () -> {
                                session.rewind(0);
                                session.append(ids);
                            },
                            session::close);
                });
    }

    /// One token after a short text.
    static SpeedCase token(String format) {
        String name = "token " + format;
        return new SpeedCase(
                name,
                Limit.READ,
                "tokens",
                (compute, arena) -> {
                    DecoderModel model = random(compute, arena, format);
                    DecoderSession session = new DecoderSession(model, Map.of(), compute, 2 * KNOWN);
                    int[] ids = ids(KNOWN + 1, 3);
                    checkToken(name, session, ids);
                    return new Work(
                            1,
                            storageBytes(model),
                            () -> {
                                session.rewind(KNOWN);
                                session.append(ids[KNOWN]);
                            },
                            session::close);
                });
    }

    private static Work openStep(Compute compute, Arena arena, String name, String format, int rows, int rowTokens) {
        DecoderModel model = random(compute, arena, format);
        AdapterConfig config =
                AdapterConfig.of("lora", Map.of("r", RANK, "lora_alpha", 2 * RANK, "target_modules", "all-linear"));
        AdapterSet adapters = AdapterSet.create(config, model.sites(), compute, 1);
        List<TokenRow> batch = new ArrayList<>();
        for (int row = 0; row < rows; row++) {
            batch.add(TokenRow.ofText(ids(rowTokens, 2L + row)));
        }
        double evaluated = Evaluation.of(model, adapters.adapters(), compute, batch, done -> {}).loss();
        TrainerOptions options = TrainerOptions.of(1e-4, OptimizerChoice.AdamW.withDefaults(0), Integer.MAX_VALUE, 0);
        Trainer trainer = new Trainer(model, adapters, compute, new BatchPlan(batch, rows, 1, false, 0), options);
        double trained = trainer.step().loss();
        if (!(Math.abs(trained - evaluated) <= LOSS_TOLERANCE * evaluated)) {
            throw new IllegalStateException(
                    name + ": loss of the first step: expected " + evaluated + ", found " + trained);
        }
        long adapterWeights = 0;
        for (DecoderLayer layer : model.layers()) {
            for (Linear linear : layer.linears()) {
                adapterWeights += (long) RANK * (linear.weight().outFeatures() + linear.weight().inFeatures());
            }
        }
        // Frozen weights take part in y and in the gradient of x, adapters in that of their own weights, too.
        double cost = rows * rowTokens * (4.0 * (linearWeights(model) + headWeights(model)) + 6.0 * adapterWeights);
        return new Work(
                rows * rowTokens,
                cost,
                trainer::step,
                () -> {
                    trainer.close();
                    adapters.close();
                });
    }

    /// The logits of a text by single tokens against those of the text at once.
    private static void checkToken(String name, DecoderSession session, int[] ids) {
        float[] together = session.append(ids).toArray();
        session.rewind(KNOWN);
        float[] single = session.append(ids[KNOWN]).toArray();
        double largest = 0;
        double error = 0;
        for (int token = 0; token < single.length; token++) {
            largest = Math.max(largest, Math.abs(together[token]));
            error = Math.max(error, Math.abs((double) together[token] - single[token]));
        }
        if (!(error <= LOGIT_TOLERANCE * largest)) {
            throw new IllegalStateException(
                    name + ": logits of a text and of its last token differ by " + error + " of " + largest);
        }
    }

    private static int[] ids(int count, long seed) {
        return new SplittableRandom(seed).ints(count, 0, CONFIG.vocabSize()).toArray();
    }

    private static long linearWeights(DecoderModel model) {
        long weights = 0;
        for (DecoderLayer layer : model.layers()) {
            for (Linear linear : layer.linears()) {
                weights += (long) linear.weight().outFeatures() * linear.weight().inFeatures();
            }
        }
        return weights;
    }

    private static long headWeights(DecoderModel model) {
        return (long) model.config().vocabSize() * model.config().hiddenSize();
    }

    private static double storageBytes(DecoderModel model) {
        double bytes = model.head().weight().storageBytes();
        for (DecoderLayer layer : model.layers()) {
            for (Linear linear : layer.linears()) {
                bytes += linear.weight().storageBytes();
            }
        }
        return bytes;
    }

    /// @param format of the linear layers; embedding and head are f32, or q8_0 beside GGUF formats
    private static DecoderModel random(Compute compute, Arena arena, String format) {
        int hidden = CONFIG.hiddenSize();
        int keyValue = CONFIG.keyValueSize();
        int intermediate = CONFIG.intermediateSize();
        List<DecoderLayer> layers = new ArrayList<>();
        for (int index = 0; index < CONFIG.numHiddenLayers(); index++) {
            String attention = "model.layers." + index + ".self_attn.";
            String mlp = "model.layers." + index + ".mlp.";
            layers.add(
                    new DecoderLayer(
                            index,
                            norm(arena),
                            linear(compute, arena, format, attention + "q_proj", hidden, hidden),
                            linear(compute, arena, format, attention + "k_proj", keyValue, hidden),
                            linear(compute, arena, format, attention + "v_proj", keyValue, hidden),
                            null,
                            null,
                            linear(compute, arena, format, attention + "o_proj", hidden, hidden),
                            norm(arena),
                            linear(compute, arena, format, mlp + "gate_proj", intermediate, hidden),
                            linear(compute, arena, format, mlp + "up_proj", intermediate, hidden),
                            linear(compute, arena, format, mlp + "down_proj", hidden, intermediate)));
        }
        String tableFormat = format.startsWith("q") ? "q8_0" : "f32";
        Weight embedding = RandomWeights.weight(compute, arena, tableFormat, CONFIG.vocabSize(), hidden);
        return new DecoderModel(CONFIG, embedding, layers, norm(arena), new Linear(DecoderModel.HEAD, embedding, null));
    }

    private static Matrix norm(Arena arena) {
        Matrix norm = Matrix.allocate(arena, 1, CONFIG.hiddenSize());
        norm.fill(NORM);
        return norm;
    }

    private static Linear linear(
            Compute compute, Arena arena, String format, String name, int outFeatures, int inFeatures) {
        return new Linear(name, RandomWeights.weight(compute, arena, format, outFeatures, inFeatures), null);
    }
}
