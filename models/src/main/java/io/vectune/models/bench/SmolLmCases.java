package io.vectune.models.bench;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.bench.SpeedCase.Work;
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
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;

/// Cases over the random model of [SmolLmShape].
final class SmolLmCases {
    private static final int RANK = 16;
    private static final int KNOWN = 64;
    private static final double LOSS_TOLERANCE = 1e-4;
    private static final double LOGIT_TOLERANCE = 1e-3;

    private SmolLmCases() {}

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
                    DecoderModel model = SmolLmShape.random(compute, arena, format);
                    DecoderSession session = new DecoderSession(model, Map.of(), compute, tokens);
                    int[] ids = ids(tokens, 3);
                    double cost = 2.0 * tokens * SmolLmShape.LINEAR_WEIGHTS + 2.0 * SmolLmShape.HEAD_WEIGHTS;
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
                    DecoderModel model = SmolLmShape.random(compute, arena, format);
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
        DecoderModel model = SmolLmShape.random(compute, arena, format);
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
        double cost =
                rows
                        * rowTokens
                        * (4.0 * (SmolLmShape.LINEAR_WEIGHTS + SmolLmShape.HEAD_WEIGHTS) + 6.0 * adapterWeights);
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
        return new SplittableRandom(seed).ints(count, 0, SmolLmShape.CONFIG.vocabSize()).toArray();
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
}
