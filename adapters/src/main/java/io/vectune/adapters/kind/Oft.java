package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.InputMap;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// OFT (Qiu et al. 2023, arXiv 2306.07280; v2 with Cayley-Neumann: arXiv 2506.19847): rotates blocks of inputs.
///
///     y = x' Wᵀ + b        x'_n = x_n R_n for each block n of b inputs
///     Q = U - Uᵀ, U strictly upper triangular from the parameters
///     exact     R = (I - Q) (I + Q)⁻¹ = 2 M - I, M = (I + Q)⁻¹
///     Neumann   R = I + 2 Q + 2 Q^2 + ... + 2 Q^(degree-1) + Q^degree
///
/// The degree is terms - 1, but for three terms 3, as PEFT computes it: from the square on it always multiplies once
/// more. Two terms are I + 2 Q.
///
/// The two are not approximations of each other: for small Q the exact form turns the opposite way, as in PEFT.
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | rotation | (blocks, b (b-1)/2), one block with block_share | 0 | oft_R.weight |
///
/// Identity at start: exact. R depends on the parameters alone. Backward, with g' = gY W:
///
///     GR_n = sum_t x_nᵀ g'_n        gX_n = g'_n R_nᵀ
///     exact     GQ = -2 Mᵀ GR Mᵀ
///     Neumann   GQ = sum over terms c Q^p of c sum_{i+j=p-1} (Qᵀ)^i GR (Qᵀ)^j
///     dU[i,j] = GQ[i,j] - GQ[j,i]
///
/// Constrained OFT (coft) scales a block whose norm exceeds eps / sqrt(blocks) back to it, at each refresh.
///
/// Merge     W' = W with its column blocks times R_nᵀ
/// Omitted   module_dropout in training
/// Source    peft tuners/oft/layer.py
public final class Oft extends LayerAdapter implements InputMap {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("oft", "OFT", Recipe::read);

    private final int block;
    private final boolean neumann;
    private final int terms;
    private final double constraint;
    private final Matrix angles;
    // R and its transpose, a block after the other.
    private final Matrix rotation;
    private final Matrix transposed;

    private Oft(LayerSite site, Recipe recipe, int block, int rows, Arena arena) {
        super("oft", site);
        this.block = block;
        this.neumann = recipe.neumann;
        this.terms = recipe.terms;
        this.constraint = recipe.constrained ? recipe.epsilon : 0;
        this.angles = Matrix.allocate(arena, rows, block * (block - 1) / 2);
        this.rotation = Matrix.allocate(arena, rows * block, block);
        this.transposed = Matrix.allocate(arena, rows * block, block);
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(AdapterParameter.matrix("rotation", "oft_R.weight", Role.ROTATION, angles));
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        if (constraint > 0) {
            constrain();
        }
        for (int n = 0; n < angles.rows(); n++) {
            double[] r = neumann ? neumann(skew(n)) : exact(skew(n));
            for (int i = 0; i < block; i++) {
                for (int j = 0; j < block; j++) {
                    rotation.set(n * block + i, j, (float) r[i * block + j]);
                    transposed.set(n * block + j, i, (float) r[i * block + j]);
                }
            }
        }
    }

    private void constrain() {
        double limit = constraint / Math.sqrt(angles.rows());
        for (int n = 0; n < angles.rows(); n++) {
            double square = 0;
            for (int e = 0; e < angles.columns(); e++) {
                square += 2.0 * angles.get(n, e) * angles.get(n, e);
            }
            double norm = Math.sqrt(square);
            for (int e = 0; norm > limit && e < angles.columns(); e++) {
                angles.set(n, e, (float) (limit * angles.get(n, e) / norm));
            }
        }
    }

    private double[] skew(int n) {
        double[] q = new double[block * block];
        int entry = 0;
        for (int i = 0; i < block; i++) {
            for (int j = i + 1; j < block; j++) {
                double value = angles.get(n, entry++);
                q[i * block + j] = value;
                q[j * block + i] = -value;
            }
        }
        return q;
    }

    private double[] inverse(double[] q) {
        double[] sum = q.clone();
        for (int i = 0; i < block; i++) {
            sum[i * block + i] += 1;
        }
        return SmallMatrix.inverse(sum, block);
    }

    private double[] exact(double[] q) {
        double[] r = inverse(q);
        for (int e = 0; e < r.length; e++) {
            r[e] *= 2;
        }
        for (int i = 0; i < block; i++) {
            r[i * block + i] -= 1;
        }
        return r;
    }

    // The highest power of Q.
    private int degree() {
        return terms == 3 ? 3 : terms - 1;
    }

    // Coefficient of Q^power: 1 for the identity and the last of several terms, else 2.
    private double coefficient(int power) {
        return power == 0 || (power == degree() && terms > 2) ? 1 : 2;
    }

    private double[] neumann(double[] q) {
        double[] power = SmallMatrix.identity(block);
        double[] r = SmallMatrix.identity(block);
        for (int p = 1; p <= degree(); p++) {
            power = SmallMatrix.nn(power, q, block, block, block);
            for (int e = 0; e < r.length; e++) {
                r[e] += coefficient(p) * power[e];
            }
        }
        return r;
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public void mapInput(AdapterCall call, Matrix mapped) {
        rotate(call.compute(), call.x(), rotation, mapped);
    }

    // One small product a block: (tokens, b) times (b, b).
    private void rotate(Compute compute, Matrix x, Matrix rotations, Matrix y) {
        for (int n = 0; n < inFeatures() / block; n++) {
            int from = n * block;
            MatMul.nn(
                    compute,
                    1,
                    x.columns(from, from + block),
                    blockOf(rotations, n),
                    y.columns(from, from + block),
                    false);
        }
    }

    private Matrix blockOf(Matrix rotations, int n) {
        int at = angles.rows() == 1 ? 0 : n * block;
        return rotations.rows(at, at + block);
    }

    @Override
    public void backwardInput(AdapterCall call, Matrix gradMapped, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int rows = angles.rows();
        int blocks = inFeatures() / block;
        Matrix gradR = workspace.matrix(block, block);
        for (int n = 0; n < rows; n++) {
            for (int shared = n; shared < blocks; shared += rows) {
                int from = shared * block;
                Matrix x = call.x().columns(from, from + block);
                MatMul.tn(compute, 1, x, gradMapped.columns(from, from + block), gradR, shared != n);
            }
            addAngles(n, SmallMatrix.doubles(gradR), gradients.getFirst());
        }
        if (gradInput != null) {
            rotate(compute, gradMapped, transposed, gradInput);
        }
        workspace.release(mark);
    }

    private void addAngles(int n, double[] gradR, Matrix gradient) {
        double[] q = skew(n);
        double[] gradQ = new double[block * block];
        if (neumann) {
            addPowers(q, gradR, gradQ);
        } else {
            double[] mT = SmallMatrix.transpose(inverse(q), block, block);
            double[] inner = SmallMatrix.nn(SmallMatrix.nn(mT, gradR, block, block, block), mT, block, block, block);
            for (int e = 0; e < gradQ.length; e++) {
                gradQ[e] = -2 * inner[e];
            }
        }
        int entry = 0;
        for (int i = 0; i < block; i++) {
            for (int j = i + 1; j < block; j++) {
                double value = gradQ[i * block + j] - gradQ[j * block + i];
                gradient.set(n, entry, (float) (gradient.get(n, entry) + value));
                entry++;
            }
        }
    }

    // The gradient of sum c_p Q^p by the recurrence S_p = S_(p-1) Qᵀ + (Qᵀ)^(p-1) GR, S_1 = GR.
    private void addPowers(double[] q, double[] gradR, double[] gradQ) {
        double[] qT = SmallMatrix.transpose(q, block, block);
        double[] sum = new double[gradR.length];
        double[] left = gradR.clone();
        for (int p = 1; p <= degree(); p++) {
            sum = SmallMatrix.nn(sum, qT, block, block, block);
            for (int e = 0; e < sum.length; e++) {
                sum[e] += left[e];
                gradQ[e] += coefficient(p) * sum[e];
            }
            left = SmallMatrix.nn(qT, left, block, block, block);
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix copy = workspace.matrix(outFeatures(), inFeatures());
        RowKernels.copy(compute, merged, copy);
        rotate(compute, copy, transposed, merged);
        workspace.release(mark);
    }

    /// The configuration.
    record Recipe(
            int blockCount,
            int blockSize,
            boolean shared,
            boolean neumann,
            int terms,
            boolean constrained,
            double epsilon,
            boolean zero,
            UndrawnDropouts dropouts)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int count = fields.integer("r", 0);
            int size = fields.integer("oft_block_size", count == 0 ? 32 : 0);
            if ((count > 0) == (size > 0)) {
                throw fields.wrong("oft_block_size", "a size, or 0 with the number of blocks in r=" + count, size);
            }
            return new Recipe(
                    count,
                    size,
                    fields.flag("block_share", false),
                    fields.flag("use_cayley_neumann", true),
                    fields.positive("num_cayley_neumann_terms", 5),
                    fields.flag("coft", false),
                    fields.number("eps", 6e-5),
                    fields.flag("init_weights", true),
                    UndrawnDropouts.read(fields, "module_dropout"));
        }

        @Override
        public @Nullable String untrainable() {
            return dropouts.untrainable();
        }

        @Override
        public String kind() {
            return "oft";
        }

        @Override
        public String peftType() {
            return "OFT";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", blockCount);
            fields.put("oft_block_size", blockSize);
            fields.put("block_share", shared);
            fields.put("use_cayley_neumann", neumann);
            fields.put("num_cayley_neumann_terms", terms);
            fields.put("coft", constrained);
            fields.put("eps", epsilon);
            fields.putAll(dropouts.fields());
            fields.put("init_weights", zero);
            fields.put("fan_in_fan_out", false);
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int in = site.weight().inFeatures();
            // A file holds the sizes that PEFT took in place of ones that do not divide.
            boolean stored = shapes.shape("oft_R.weight") != null;
            int count = stored ? nearestDivisor(in, blockCount) : blockCount;
            int size = blockSize > 0 ? (stored ? nearestDivisor(in, blockSize) : blockSize) : in / Math.max(1, count);
            if (size < 1 || in % size != 0 || (count > 0 && in % count != 0)) {
                throw new IllegalArgumentException(
                        site.name()
                                + (blockSize > 0 ? ": oft_block_size" : ": r")
                                + ": expected a divisor of inFeatures="
                                + in
                                + ", found "
                                + (blockSize > 0 ? blockSize : blockCount));
            }
            return new Oft(site, this, size, shared ? 1 : in / size, arena);
        }

        // The divisor of `in` next to `wanted`, the lower of two as near; 0 stays 0.
        private static int nearestDivisor(int in, int wanted) {
            if (wanted < 1) {
                return wanted;
            }
            int lower = Math.min(in, wanted);
            while (in % lower != 0) {
                lower--;
            }
            int higher = Math.min(in, wanted);
            while (in % higher != 0) {
                higher++;
            }
            return wanted - lower <= higher - wanted ? lower : higher;
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            if (!zero) {
                Oft oft = (Oft) adapter;
                initialization.random(site, "rotation").fillKaiming(oft.angles);
            }
        }
    }
}
