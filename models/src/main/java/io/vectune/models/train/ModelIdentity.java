package io.vectune.models.train;

import io.vectune.adapters.LayerSite;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.models.flux.FluxModel;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/// Which frozen model a run belongs to: its shape, how its weights are stored, and a digest of names, shapes and
/// sampled values. Cheap: a few rows of each weight are decoded, never a whole one.
///
/// The digest is of decoded values, so a model has the same one in another file; models that differ in single rows only
/// may share it.
final class ModelIdentity {
    private static final int SAMPLED_ROWS = 8;
    private static final int DIGEST_BYTES = 8;

    private final MessageDigest digest;

    private ModelIdentity() {
        try {
            this.digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("every Java platform has SHA-256", impossible);
        }
    }

    /// A decoder's.
    static Map<String, String> of(DecoderModel model) {
        DecoderConfig config = model.config();
        String shape =
                String.format(
                        Locale.ROOT,
                        "%s, %d layers, hidden size %d, intermediate size %d, %d heads of %d (%d of keys and values),"
                                + " vocabulary %d",
                        config.architecture().name().toLowerCase(Locale.ROOT),
                        config.numHiddenLayers(),
                        config.hiddenSize(),
                        config.intermediateSize(),
                        config.numAttentionHeads(),
                        config.headDim(),
                        config.numKeyValueHeads(),
                        config.vocabSize());
        ModelIdentity identity = new ModelIdentity();
        identity.add(config.toString());
        model.sites().forEach(identity::add);
        return identity.settings(shape, model.linears());
    }

    /// A Flux transformer's.
    static Map<String, String> of(FluxModel model) {
        String shape =
                String.format(
                        Locale.ROOT,
                        "flux, %d double and %d single blocks, inner size %d, %d input channels",
                        model.config().numLayers(),
                        model.config().numSingleLayers(),
                        model.config().innerDim(),
                        model.config().inChannels());
        ModelIdentity identity = new ModelIdentity();
        identity.add(model.config().toString());
        model.sites().forEach(identity::add);
        model.norms().forEach(identity::add);
        return identity.settings(shape, model.linears());
    }

    private Map<String, String> settings(String shape, List<Linear> linears) {
        Map<String, Integer> formats = new TreeMap<>();
        linears.forEach(linear -> formats.merge(linear.weight().description(), 1, Integer::sum));
        StringBuilder stored = new StringBuilder();
        formats.forEach((format, layers) ->
                stored.append(stored.isEmpty() ? "" : "; ")
                        .append(layers)
                        .append(layers == 1 ? " layer " : " layers ")
                        .append(format));
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("model", shape);
        settings.put("quantization", stored.toString());
        settings.put("model weights", "digest " + HexFormat.of().formatHex(digest.digest(), 0, DIGEST_BYTES));
        return settings;
    }

    private void add(String text) {
        digest.update(text.getBytes(StandardCharsets.UTF_8));
        digest.update((byte) '\n');
    }

    private void add(LayerSite site) {
        Weight weight = site.weight();
        add(site.name() + " " + weight.outFeatures() + " x " + weight.inFeatures() + " " + weight.description());
        float[] row = new float[weight.inFeatures()];
        for (int sample = 0; sample < Math.min(SAMPLED_ROWS, weight.outFeatures()); sample++) {
            int index = Math.toIntExact((long) sample * weight.outFeatures() / SAMPLED_ROWS);
            weight.decode(index, index + 1, 0, row.length, row, 0, row.length);
            add(row);
        }
        Matrix bias = site.bias();
        if (bias != null) {
            add(site.name() + ".bias", bias);
        }
    }

    private void add(String name, Matrix values) {
        add(name);
        add(values.toArray());
    }

    private void add(float[] values) {
        ByteBuffer bytes = ByteBuffer.allocate(Math.multiplyExact(values.length, Float.BYTES));
        bytes.asFloatBuffer().put(values);
        digest.update(bytes);
    }
}
