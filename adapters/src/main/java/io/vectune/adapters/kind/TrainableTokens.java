package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.TokenTable;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// Trainable tokens: own rows of the embedding for a few tokens, say new ones; all other rows stay frozen. Alone, or
/// beside LoRA as `trainable_token_indices`.
///
///     W' = W with the rows of the tokens replaced
///     embedding          out_t = W'[id_t]            drow_k = sum over t with id_t = token k of gOut_t
///     output head        y = x W'ᵀ                   drow_k += sum_t gY_tk x_t,  gX = gY W'
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | rows | (tokens, hiddenSize) | the base's rows | trainable_tokens_delta, token_adapter.trainable_tokens_delta |
///
/// Identity at start: exact. Merge: the rows replace the base's
/// Source    peft tuners/trainable_tokens/layer.py
public final class TrainableTokens extends LayerAdapter implements TokenTable, ProductMap {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("trainable_tokens", "TRAINABLE_TOKENS", Recipe::read);

    /// The parameter's key when the tokens stand beside another adapter.
    public static final String KEY_BESIDE = "token_adapter.trainable_tokens_delta";

    private static final String KEY = "trainable_tokens_delta";

    private final int[] tokens;
    private final Map<Integer, Integer> rowOf = new HashMap<>();
    private final Matrix rows;
    private final String key;

    /// Copies of the rows of some tokens.
    ///
    /// @param key of the rows in a PEFT file
    /// @throws IllegalArgumentException if a token is not in the table, or named twice
    public TrainableTokens(LayerSite site, List<Integer> tokens, String key, Arena arena) {
        super("trainable_tokens", site);
        this.key = key;
        this.tokens = tokens.stream().mapToInt(Integer::intValue).toArray();
        this.rows = Matrix.allocate(arena, tokens.size(), inFeatures());
        float[] row = new float[inFeatures()];
        for (int k = 0; k < this.tokens.length; k++) {
            int token = this.tokens[k];
            if (token < 0 || token >= outFeatures() || rowOf.put(token, k) != null) {
                throw new IllegalArgumentException(
                        site.name()
                                + ": token_indices: expected different tokens from 0 to "
                                + (outFeatures() - 1)
                                + ", found "
                                + token);
            }
            site.weight().decode(token, token + 1, 0, row.length, row, 0, row.length);
            for (int i = 0; i < row.length; i++) {
                rows.set(k, i, row[i]);
            }
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(AdapterParameter.matrix("rows", key, Role.WEIGHT, rows));
    }

    @Override
    public void gather(Compute compute, Weight table, int[] ids, Matrix out) {
        Embedding.gather(compute, table, ids, out);
        for (int t = 0; t < out.rows(); t++) {
            Integer row = rowOf.get(ids[t]);
            if (row != null) {
                out.rows(t, t + 1).copyFrom(rows.rows(row, row + 1));
            }
        }
    }

    @Override
    public void backwardGather(Compute compute, int[] ids, Matrix gradOutput, List<Matrix> gradients) {
        for (int t = 0; t < gradOutput.rows(); t++) {
            Integer row = rowOf.get(ids[t]);
            if (row != null) {
                Matrix target = gradients.getFirst().rows(row, row + 1);
                RowKernels.addRow(compute, target, gradOutput.rows(t, t + 1));
            }
        }
    }

    @Override
    public long savedFloats(int count) {
        return 0;
    }

    @Override
    public Form form() {
        return Form.SCALES_AND_ADDS;
    }

    /// The output head, tied or with tokens of its own.
    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        RowKernels.addRow(call.compute(), y, call.bias());
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix own = workspace.matrix(y.rows(), tokens.length);
        MatMul.nt(call.compute(), 1, call.x(), rows, own, false);
        Matrix bias = call.bias();
        for (int t = 0; t < y.rows(); t++) {
            for (int k = 0; k < tokens.length; k++) {
                y.set(t, tokens[k], own.get(t, k) + (bias == null ? 0 : bias.get(0, tokens[k])));
            }
        }
        workspace.release(mark);
    }

    @Override
    public void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix own = workspace.matrix(gradOutput.rows(), tokens.length);
        for (int t = 0; t < gradOutput.rows(); t++) {
            for (int k = 0; k < tokens.length; k++) {
                own.set(t, k, gradOutput.get(t, tokens[k]));
            }
        }
        MatMul.tn(call.compute(), 1, own, call.x(), gradients.getFirst(), true);
        if (gradInput != null) {
            Matrix part = gradInput.part();
            MatMul.nn(call.compute(), 1, own, rows, part, false);
            gradInput.add(part);
        }
        if (gradProduct != null) {
            RowKernels.copy(call.compute(), gradOutput, gradProduct);
            for (int t = 0; t < gradOutput.rows(); t++) {
                for (int token : tokens) {
                    gradProduct.set(t, token, 0);
                }
            }
        }
        workspace.release(mark);
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        for (int k = 0; k < tokens.length; k++) {
            merged.rows(tokens[k], tokens[k] + 1).copyFrom(rows.rows(k, k + 1));
        }
    }

    /// Reads PEFT's `trainable_token_indices`: a list of tokens of `embed_tokens`, or an object from embeddings to
    /// lists.
    public static Map<String, List<Integer>> readBeside(ConfigFields fields) {
        Object value = fields.raw("trainable_token_indices");
        Map<String, List<Integer>> byModule = new TreeMap<>();
        if (value instanceof Map<?, ?> map) {
            map.forEach((module, list) ->
                    byModule.put(String.valueOf(module), indices(fields, "trainable_token_indices", list)));
        } else if (value != null) {
            byModule.put("embed_tokens", indices(fields, "trainable_token_indices", value));
        }
        return byModule;
    }

    private static List<Integer> indices(ConfigFields fields, String field, @Nullable Object value) {
        if (value instanceof List<?> list
                && !list.isEmpty()
                && list.stream().allMatch(each -> each instanceof Number number && number.doubleValue() >= 0)) {
            return list.stream().map(each -> ((Number) each).intValue()).toList();
        }
        throw fields.wrong(field, "a list of token ids", value);
    }

    /// The configuration.
    record Recipe(List<Integer> tokens) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            fields.ignore("init_weights");
            return new Recipe(indices(fields, "token_indices", fields.raw("token_indices")));
        }

        @Override
        public String kind() {
            return "trainable_tokens";
        }

        @Override
        public String peftType() {
            return "TRAINABLE_TOKENS";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("token_indices", tokens);
            fields.put("init_weights", true);
            return fields;
        }

        @Override
        public List<String> defaultTargets() {
            return List.of("embed_tokens");
        }

        @Override
        public boolean sitsOn(LayerSite.Part part) {
            return part == LayerSite.Part.EMBEDDING || part == LayerSite.Part.HEAD;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new TrainableTokens(site, tokens, KEY, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            // The rows start as copies.
        }
    }
}
