package io.vectune.models.flux.file;

import io.vectune.models.flux.FluxAdapter;
import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.LowRankUpdate;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Reads adapters of Flux transformers in the styles in which they are published: diffusers, PEFT, the original release
/// (Control LoRAs with fused queries, keys and values, biases and norms), kohya's scripts, ComfyUI, xlabs.
///
/// All styles become the same updates by module names of diffusers. A layer that stands for several is split by its
/// output rows, and the parts share A. Nothing is dropped in silence: a key that has no place is an error, but for
/// those of text encoders, which [FluxAdapter#ignored] names.
///
/// Where the converters of diffusers 0.42.1 lose something, this one keeps it:
/// - the halves of the last modulation are swapped in lora_B and its bias; diffusers swaps the rows of lora_A of a
///   Control LoRA as well, which is another product;
/// - layers outside the blocks in kohya's style are read; diffusers names them without `transformer.` and ignores them;
/// - alpha of kohya's final layers and ComfyUI's changes of biases (`diff_b`) count; diffusers leaves them out.
public final class FluxAdapterFile {
    /// What diffusers calls an adapter in a directory.
    public static final String DIFFUSERS_FILE = "pytorch_lora_weights.safetensors";

    private static final String PEFT_FILE = "adapter_model.safetensors";
    private static final String PEFT_CONFIG = "adapter_config.json";

    private final TensorSource source;
    private final FloatTensors tensors;
    private final Arena arena;
    private final ModuleNames names;
    private final AlphaRule rule;
    private final Map<String, Map<AdapterKey.Part, String>> layers = new LinkedHashMap<>();
    private final Map<String, Matrix> norms = new LinkedHashMap<>();
    private final List<String> ignored = new ArrayList<>();

    private FluxAdapterFile(TensorSource source, Arena arena, ModuleNames names, AlphaRule rule) {
        this.source = source;
        this.tensors = new FloatTensors(source, arena);
        this.arena = arena;
        this.names = names;
        this.rule = rule;
    }

    /// Reads an adapter.
    ///
    /// @param path a .safetensors file, or a directory of diffusers or PEFT that has one
    /// @param config of the transformer that it is for
    /// @param arena owns the adapter's memory
    /// @throws VectuneException if the file is malformed, or holds something that has no place in the transformer
    public static FluxAdapter read(Path path, FluxConfig config, Arena arena) {
        Path file = locate(path);
        AlphaRule rule = rule(path, file);
        try (Arena mapping = Arena.ofShared()) {
            SafetensorsFile source = SafetensorsFile.open(file, mapping);
            String metadata = source.metadata().get(AlphaRule.METADATA);
            if (metadata != null) {
                rule = AlphaRule.ofMetadata(metadata, file.toString());
            }
            return new FluxAdapterFile(source, arena, new ModuleNames(config), rule).read(name(file));
        }
    }

    /// The file of an adapter: the path itself, or the one that diffusers or PEFT writes into a directory.
    ///
    /// @throws VectuneException if a directory holds neither
    public static Path locate(Path path) {
        if (!Files.isDirectory(path)) {
            return path;
        }
        for (String name : List.of(DIFFUSERS_FILE, PEFT_FILE)) {
            if (Files.isRegularFile(path.resolve(name))) {
                return path.resolve(name);
            }
        }
        throw new VectuneException(path + ": expected " + DIFFUSERS_FILE + " or " + PEFT_FILE + ", found neither");
    }

    /// What PEFT's configuration beside the file says, if one belongs to it: to any file of a named directory, and to
    /// PEFT's own file where that is named.
    private static AlphaRule rule(Path path, Path file) {
        Path settings = file.resolveSibling(PEFT_CONFIG);
        boolean belongs = Files.isDirectory(path) || file.endsWith(PEFT_FILE);
        return belongs && Files.isRegularFile(settings) ? AlphaRule.ofFile(settings) : AlphaRule.NONE;
    }

    private static String name(Path file) {
        Path last = file.getFileName();
        String text = last == null ? file.toString() : last.toString();
        return text.endsWith(".safetensors") ? text.substring(0, text.length() - ".safetensors".length()) : text;
    }

    private FluxAdapter read(String name) {
        source.names().forEach(this::sort);
        Map<String, LowRankUpdate> updates = new LinkedHashMap<>();
        layers.forEach((stem, parts) -> update(stem, parts, updates));
        if (updates.isEmpty()) {
            throw new FileFormatException(
                    source.origin() + ": expected an adapter with lora_A and lora_B of some layer, found none");
        }
        KeyStyle style = KeyStyle.of(source.names());
        if (style == KeyStyle.CONTROL_RELEASE && !updates.containsKey(FluxModel.X_EMBEDDER)) {
            throw new FileFormatException(
                    source.origin()
                            + ": expected img_in.lora_A.weight, as a Control LoRA reads a wider input, found none; the"
                            + " file is incomplete");
        }
        return new FluxAdapter(name, style.label(), updates, norms, ignored);
    }

    private void sort(String name) {
        if (AdapterKey.ofTextEncoder(name)) {
            ignored.add(name);
            return;
        }
        AdapterKey key = AdapterKey.of(name);
        if (key.part() == AdapterKey.Part.MAGNITUDE) {
            throw new FileFormatException(
                    source.origin() + ": " + name + ": DoRA on Flux transformers is not supported; expected a LoRA");
        }
        if (key.part() == AdapterKey.Part.CHANGE) {
            requireZero(name);
            return;
        }
        String norm = key.part() == AdapterKey.Part.OTHER ? names.norm(key.stem()) : null;
        if (norm != null) {
            norms.put(norm, row(name));
            return;
        }
        if (key.part() == AdapterKey.Part.OTHER || names.target(key.stem()) == null) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + name
                            + ": expected a layer of the transformer, found a name that it does not have"
                            + NearMatches.hint(key.stem(), names.known())
                            + "; the adapter was made for another model, or is no LoRA");
        }
        layers.computeIfAbsent(key.stem(), stem -> new EnumMap<>(AdapterKey.Part.class)).put(key.part(), name);
    }

    /// Extracted adapters hold a change for each norm, which is zero where training left the norm alone.
    private void requireZero(String name) {
        Tensor change = tensors.floats(name);
        for (long i = 0; i < change.elements(); i++) {
            if (change.getFloat(i) != 0) {
                throw new FileFormatException(
                        source.origin()
                                + ": "
                                + name
                                + ": expected zeros, as changes of whole weights are not supported, found "
                                + change.getFloat(i)
                                + "; extract the adapter without it");
            }
        }
    }

    private void update(String stem, Map<AdapterKey.Part, String> parts, Map<String, LowRankUpdate> updates) {
        ModuleNames.Target target = names.target(stem);
        String nameA = parts.get(AdapterKey.Part.A);
        String nameB = parts.get(AdapterKey.Part.B);
        if (target == null || nameA == null || nameB == null) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + stem
                            + ": expected lora_A and lora_B, found "
                            + String.join(", ", parts.values())
                            + "; the file is incomplete");
        }
        Matrix a = matrix(nameA);
        Matrix b = matrix(nameB);
        if (a.rows() == 0 || a.columns() == 0) {
            throw tensors.wrongShape(nameA, "", "rank of at least 1", "input features");
        }
        if (b.rows() != target.outFeatures() || a.rows() != b.columns()) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + nameB
                            + ": expected ["
                            + target.outFeatures()
                            + ", "
                            + a.rows()
                            + "] for this transformer and the rank of lora_A, found ["
                            + b.rows()
                            + ", "
                            + b.columns()
                            + "]");
        }
        Float alpha = alpha(parts.get(AdapterKey.Part.ALPHA));
        float scale = alpha == null ? rule.scale(target.modules().getFirst(), a.rows()) : alpha / a.rows();
        if (!Float.isFinite(scale)) {
            throw new FileFormatException(
                    source.origin()
                            + ": scale of "
                            + stem
                            + ", alpha over rank: expected a finite number, found "
                            + scale);
        }
        Matrix bias = bias(parts, target, scale);
        if (target.swapHalves()) {
            b = swapped(b);
        }
        int from = 0;
        for (int index = 0; index < target.modules().size(); index++) {
            String module = target.modules().get(index);
            int to = from + target.rows().get(index);
            Matrix own = bias == null ? null : bias.columns(from, to);
            LowRankUpdate update = new LowRankUpdate(a, b.rows(from, to), own, scale);
            if (updates.put(module, update) != null) {
                throw new FileFormatException(
                        source.origin() + ": " + module + ": expected one update, found two, the second as " + stem);
            }
            from = to;
        }
    }

    /// The bias of lora_B times the scale, plus a change of the layer's own bias.
    private @Nullable Matrix bias(Map<AdapterKey.Part, String> parts, ModuleNames.Target target, float scale) {
        Matrix bias = null;
        for (AdapterKey.Part part : List.of(AdapterKey.Part.B_BIAS, AdapterKey.Part.BIAS_CHANGE)) {
            String name = parts.get(part);
            if (name == null) {
                continue;
            }
            Matrix row = row(name);
            if (row.columns() != target.outFeatures()) {
                throw new FileFormatException(
                        source.origin()
                                + ": "
                                + name
                                + ": expected "
                                + target.outFeatures()
                                + " values for this transformer, found "
                                + row.columns());
            }
            Matrix sum = bias == null ? Matrix.allocate(arena, 1, row.columns()) : bias;
            float factor = part == AdapterKey.Part.B_BIAS ? scale : 1;
            int half = target.swapHalves() ? row.columns() / 2 : 0;
            for (int i = 0; i < row.columns(); i++) {
                int to = (i + half) % row.columns();
                sum.set(0, to, sum.get(0, to) + factor * row.get(0, i));
            }
            bias = sum;
        }
        return bias;
    }

    private Matrix swapped(Matrix b) {
        int half = b.rows() / 2;
        Matrix swapped = Matrix.allocate(arena, b.rows(), b.columns());
        swapped.rows(0, b.rows() - half).copyFrom(b.rows(half, b.rows()));
        swapped.rows(b.rows() - half, b.rows()).copyFrom(b.rows(0, half));
        return swapped;
    }

    private @Nullable Float alpha(@Nullable String name) {
        if (name == null) {
            return null;
        }
        Tensor tensor = tensors.floats(name);
        if (tensor.elements() != 1) {
            throw new FileFormatException(source.origin() + ": " + name + ": expected one number, found " + tensor);
        }
        if (!Float.isFinite(tensor.getFloat(0))) {
            throw tensors.notFinite(name, tensor.getFloat(0));
        }
        return tensor.getFloat(0);
    }

    private Matrix matrix(String name) {
        return tensors.matrix(name, 0, tensors.withAxes(name, 2).size(0));
    }

    private Matrix row(String name) {
        tensors.withAxes(name, 1);
        return tensors.matrix(name, 0, 1);
    }
}
