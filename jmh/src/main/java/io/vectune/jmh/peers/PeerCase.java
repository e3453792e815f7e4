package io.vectune.jmh.peers;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.load.ModelLoader;
import io.vectune.models.train.BatchPlan;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.TokenRow;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightFormat;
import io.vectune.quant.WeightFormats;
import io.vectune.quant.gguf.GgufBlockWeight;
import io.vectune.quant.gguf.GgufType;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// A piece of work that a peer does, too, on the same operands.
interface PeerCase extends AutoCloseable {
    /// Does it once.
    void run();

    /// Writes what the last run computed, for comparison: f32 or bytes without a header.
    void write(Path file);

    @Override
    default void close() {}

    /// The case that a request describes.
    ///
    /// @param request `case`: `product`, `quantize`, `step`, `prompt` or `token`, and its operands
    static PeerCase open(JsonNode request, Compute compute, Arena arena) {
        String name = request.path("case").asString();
        return switch (name) {
            case "product" -> new Product(request, compute, arena);
            case "quantize" -> new Quantize(request, compute);
            case "step" -> new Step(request, compute, arena);
            case "prompt", "token" -> new Text(request, compute, arena);
            default -> throw new IllegalArgumentException("case: expected one of this program's, found " + name);
        };
    }

    private static Path path(JsonNode request, String field) {
        return Path.of(request.path(field).asString());
    }

    private static int[] ids(JsonNode list) {
        int[] ids = new int[list.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = list.get(i).asInt();
        }
        return ids;
    }

    private static void write(Path file, Matrix matrix) {
        float[] values = matrix.toArray();
        byte[] bytes = new byte[4 * values.length];
        MemorySegment.copy(MemorySegment.ofArray(values), 0, MemorySegment.ofArray(bytes), 0, bytes.length);
        write(file, bytes);
    }

    private static void write(Path file, byte[] bytes) {
        try {
            Files.write(file, bytes);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    /// y = x Wᵀ: `file` holds `x` and the weight, as `w.weight`, as the tensors of a quantized layer `w`, or as blocks
    /// of a GGUF type in `w.blocks` (`type`, `out_features`, `in_features`).
    final class Product implements PeerCase {
        private final Compute compute;
        private final Weight weight;
        private final Matrix x;
        private final Matrix y;

        private Product(JsonNode request, Compute compute, Arena arena) {
            this.compute = compute;
            SafetensorsFile file = SafetensorsFile.open(path(request, "file"), arena);
            Optional<WeightFormat> format = WeightFormats.of(file, "w");
            if (format.isPresent()) {
                weight = format.get().load(file, "w", LoadContext.of(arena));
            } else if (file.names().contains("w.blocks")) {
                weight =
                        new GgufBlockWeight(
                                GgufType.valueOf(request.path("type").asString().toUpperCase(Locale.ROOT)),
                                file.tensor("w.blocks").segment(),
                                request.path("out_features").asInt(),
                                request.path("in_features").asInt());
            } else {
                weight = new DenseWeight(file.tensor("w.weight"));
            }
            Tensor input = file.tensor("x");
            int tokens = Math.toIntExact(input.shape()[0]);
            x = Matrix.of(input.segment(), 0, tokens, weight.inFeatures(), weight.inFeatures());
            y = Matrix.allocate(arena, tokens, weight.outFeatures());
        }

        @Override
        public void run() {
            MatMul.multiply(compute, weight, x, y, false);
        }

        @Override
        public void write(Path file) {
            PeerCase.write(file, y);
        }
    }

    /// HQQ, 4 bits, groups of 64: `file` holds `w.weight`. Writes the packed codes.
    final class Quantize implements PeerCase {
        private final Compute compute;
        private final Path path;
        private byte[] packed = new byte[0];

        private Quantize(JsonNode request, Compute compute) {
            this.compute = compute;
            this.path = path(request, "file");
        }

        @Override
        public void run() {
            try (Arena passing = Arena.ofShared()) {
                Tensor weight = SafetensorsFile.open(path, passing).tensor("w.weight");
                QuantizedWeight quantized =
                        Quantizers.of(QuantizeOptions.of("hqq")).quantize(compute, "w", weight, passing);
                Tensor codes = Objects.requireNonNull(quantized.tensors("w", passing).get("w.W_q"));
                packed = codes.segment().toArray(ValueLayout.JAVA_BYTE);
            }
        }

        @Override
        public void write(Path file) {
            PeerCase.write(file, packed);
        }
    }

    /// A tuning step with AdamW: `model`, `adapter`, `rows` of token ids, `lr`. Writes the losses of all steps so far.
    final class Step implements PeerCase {
        private final AdapterSet adapters;
        private final Trainer trainer;
        private final List<Double> losses = new ArrayList<>();

        private Step(JsonNode request, Compute compute, Arena arena) {
            DecoderModel model = ModelLoader.load(path(request, "model"), arena).decoder();
            adapters = AdapterFiles.read(path(request, "adapter"), model.sites(), compute);
            List<TokenRow> rows = new ArrayList<>();
            request.path("rows").forEach(row -> rows.add(TokenRow.ofText(ids(row))));
            TrainerOptions options =
                    TrainerOptions.of(
                            request.path("lr").asDouble(), OptimizerChoice.AdamW.withDefaults(0), Integer.MAX_VALUE, 0);
            trainer = new Trainer(model, adapters, compute, new BatchPlan(rows, rows.size(), 1, false, 0), options);
        }

        @Override
        public void run() {
            losses.add(trainer.step().loss());
        }

        @Override
        public void write(Path file) {
            float[] values = new float[losses.size()];
            for (int step = 0; step < values.length; step++) {
                values[step] = losses.get(step).floatValue();
            }
            try (Arena arena = Arena.ofConfined()) {
                PeerCase.write(file, Matrix.copyOf(arena, 1, values.length, values));
            }
        }

        @Override
        public void close() {
            trainer.close();
            adapters.close();
        }
    }

    /// `prompt`: all of `tokens` from an empty cache; `token`: its last one after the others. Writes the last logits.
    final class Text implements PeerCase {
        private final DecoderSession session;
        private final int[] ids;
        private final boolean onlyLast;
        private @Nullable Matrix logits;

        private Text(JsonNode request, Compute compute, Arena arena) {
            DecoderModel model = ModelLoader.load(path(request, "model"), arena).decoder();
            ids = ids(request.path("tokens"));
            onlyLast = request.path("case").asString().equals("token");
            session = new DecoderSession(model, Map.of(), compute, ids.length);
            session.append(ids);
        }

        @Override
        public void run() {
            if (onlyLast) {
                session.rewind(ids.length - 1);
                logits = session.append(ids[ids.length - 1]);
            } else {
                session.rewind(0);
                logits = session.append(ids);
            }
        }

        @Override
        public void write(Path file) {
            Matrix found = logits;
            if (found == null) {
                throw new IllegalStateException("expected a run before its result is asked for");
            }
            PeerCase.write(file, found);
        }

        @Override
        public void close() {
            session.close();
        }
    }
}
