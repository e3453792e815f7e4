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
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StartData;
import io.vectune.adapters.Steering;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// AntiPaSTO (Clark 2026, arXiv 2601.07473): rotates and rescales chosen singular directions of the weight, steered by
/// a coefficient a that belongs to the call: 1 as trained, 0 the base, negative the opposite.
///
/// With W = U diag(S) Vᵀ + rest on the chosen directions, R(a) block-diagonal with blocks of blockSize:
///
///     z = x V          V basis   y = x Wᵀ + b + ((R z) ⊙ (S + a delta) - z ⊙ S) Uᵀ
///                      U basis   y = x Wᵀ + b + (Rᵀ (z ⊙ (S + a delta)) - z ⊙ S) Uᵀ
///     T upper triangle, A = l tanh((T - Tᵀ) / (2 l)), l = 2 tan(maxAngle / 2), X = a A / 2
///     R = (I - X)⁻¹ (I + X) = 2 M - I, M = (I - X)⁻¹                 R(a) R(-a) = I
///
/// | parameter | shape | start | lora-lite file |
/// |---|---|---|---|
/// | delta | (rank) | 0 | lora_delta_s |
/// | rotation | (rank/blockSize, blockSize (blockSize-1)/2), absent without rotation | 0 | lora_rot_T |
/// | u, s, v | (outFeatures, rank), (rank), (rank, inFeatures), frozen | SVD of W | lora_U, lora_S, lora_Vh |
///
/// Identity at start and at a = 0: bitwise, as the frozen part is subtracted in rank space and W is untouched.
/// Forward saves z (tokens, rank) only; x is not needed by backward. With gw = gY U, per block n of a row:
///
///     V  gs = sum gw ⊙ u, u = R z;  gu = gw ⊙ s;  GR = sum gu_n z_nᵀ;  gz = Rᵀ gu - gw ⊙ S
///     U  v = z ⊙ s;  GR = sum v_n gw_nᵀ;  gv = R gw;  gs = sum gv ⊙ z;  gz = gv ⊙ s - gw ⊙ S
///     GX = 2 Mᵀ GR Mᵀ;  GA = a GX / 2;  GA0 = GA ⊙ (1 - (A/l)^2);  dT = (GA0_ij - GA0_ji) / 2;  ddelta = a gs
///     gX = gY W + gz Vᵀ
///
/// Merge     at a = 1: exact LoRA of rank 2 rank
/// Deviation lora-lite changes the base weight and starts delta at N(4e-4, 4e-4), not the identity
/// Source    wassname/lora-lite variants/antipasto.py; there is no counterpart in PEFT
public final class AntiPasto extends LayerAdapter implements ProductMap, LowRankForm {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("antipasto", "ANTIPASTO", Recipe::read);

    private final int rank;
    private final int block;
    private final Basis basis;
    private final double limit;
    private final Matrix delta;
    private final Matrix angles;
    private final Matrix u;
    private final Matrix s;
    private final Matrix v;
    // The bounded skew entries A (blocks, block * block), and R(1).
    private double[] skew = new double[0];
    private final Rotation atOne;

    private AntiPasto(LayerSite site, Recipe recipe, int rank, Arena arena) {
        super("antipasto", site);
        this.rank = rank;
        this.block = recipe.blockSize;
        this.basis = recipe.basis;
        this.limit = 2 * Math.tan(recipe.maxAngle / 2);
        this.delta = Matrix.allocate(arena, 1, rank);
        this.angles = Matrix.allocate(arena, rank / block, block * (block - 1) / 2);
        this.u = Matrix.allocate(arena, outFeatures(), rank);
        this.s = Matrix.allocate(arena, 1, rank);
        this.v = Matrix.allocate(arena, rank, inFeatures());
        this.atOne = new Rotation();
    }

    /// R(a), M(a) and S + a delta for one coefficient.
    private final class Rotation {
        private final double[] m = new double[rank * block];
        private final float[] r = new float[rank * block];
        private final float[] scale = new float[rank];
        private float coefficient;

        private void set(float a) {
            coefficient = a;
            for (int k = 0; k < rank; k++) {
                scale[k] = (float) (s.get(0, k) + (double) a * delta.get(0, k));
            }
            for (int n = 0; n < rank / block; n++) {
                double[] matrix = SmallMatrix.identity(block);
                for (int e = 0; e < block * block && basis != Basis.NONE; e++) {
                    matrix[e] -= a * skew[n * block * block + e] / 2;
                }
                double[] inverse = SmallMatrix.inverse(matrix, block);
                for (int e = 0; e < block * block; e++) {
                    boolean diagonal = e / block == e % block;
                    m[n * block * block + e] = inverse[e];
                    r[n * block * block + e] = (float) (2 * inverse[e] - (diagonal ? 1 : 0));
                }
            }
        }

        // to = R from, block by block of one row; transposed: Rᵀ from.
        private void apply(float[] from, float[] to, boolean transposed) {
            for (int n = 0; n < rank; n += block) {
                for (int row = 0; row < block; row++) {
                    float sum = 0;
                    for (int column = 0; column < block; column++) {
                        float entry =
                                transposed ? r[n * block + column * block + row] : r[n * block + row * block + column];
                        sum = Math.fma(entry, from[n + column], sum);
                    }
                    to[n + row] = sum;
                }
            }
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>();
        parameters.add(AdapterParameter.vector("delta", "antipasto_delta_s", Role.SCALE, delta));
        if (basis != Basis.NONE) {
            parameters.add(AdapterParameter.matrix("rotation", "antipasto_rot_T", Role.ROTATION, angles));
        }
        parameters.add(AdapterParameter.matrix("u", "antipasto_U", Role.OUTPUT_FACTOR, u).frozen());
        parameters.add(AdapterParameter.vector("s", "antipasto_S", Role.SCALE, s).frozen());
        parameters.add(AdapterParameter.matrix("v", "antipasto_Vh", Role.INPUT_FACTOR, v).frozen());
        return parameters;
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        skew = new double[rank * block];
        for (int n = 0; n < rank / block; n++) {
            int entry = 0;
            for (int i = 0; i < block; i++) {
                for (int j = i + 1; j < block; j++) {
                    double value = limit * Math.tanh(angles.get(n, entry++) / 2 / limit);
                    skew[n * block * block + i * block + j] = value;
                    skew[n * block * block + j * block + i] = -value;
                }
            }
        }
        atOne.set(1);
    }

    private Rotation rotation(float coefficient) {
        if (coefficient == 1) {
            return atOne;
        }
        Rotation rotation = new Rotation();
        rotation.set(coefficient);
        return rotation;
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * rank;
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        int tokens = call.x().rows();
        Matrix z = call.savedOrTemporary(0, tokens, rank);
        MatMul.nt(compute, 1, call.x(), v, z, false);
        Matrix change = workspace.matrix(tokens, rank);
        float[] frozen = s.toArray();
        Steering steering = call.options().steering();
        for (int from = 0; from < tokens; ) {
            int to = steering.runEnd(from, tokens);
            Rotation rotation = rotation(steering.at(from));
            RowKernels.eachRowInto(
                    compute,
                    z.rows(from, to),
                    change.rows(from, to),
                    (in, out, columns) -> change(rotation, frozen, in, out));
            from = to;
        }
        terms.addForward(change, u, column);
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        RowKernels.addRow(call.compute(), y, call.bias());
    }

    private void change(Rotation rotation, float[] frozen, float[] z, float[] out) {
        if (basis == Basis.U) {
            float[] scaled = new float[rank];
            for (int k = 0; k < rank; k++) {
                scaled[k] = z[k] * rotation.scale[k];
            }
            rotation.apply(scaled, out, true);
        } else {
            rotation.apply(z, out, false);
            for (int k = 0; k < rank; k++) {
                out[k] *= rotation.scale[k];
            }
        }
        for (int k = 0; k < rank; k++) {
            out[k] -= z[k] * frozen[k];
        }
    }

    @Override
    public void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        int tokens = gradOutput.rows();
        Matrix gradZ = workspace.matrix(tokens, rank);
        long mark = workspace.mark();
        Matrix z = call.saved(0, tokens, rank);
        Matrix gradW = workspace.matrix(tokens, rank);
        MatMul.nn(compute, 1, gradOutput, u, gradW, false);
        Steering steering = call.options().steering();
        for (int from = 0; from < tokens; ) {
            int to = steering.runEnd(from, tokens);
            Rotation rotation = rotation(steering.at(from));
            double[] gradScale = new double[rank];
            double[] gradR = new double[rank * block];
            for (int t = from; t < to; t++) {
                backwardRow(rotation, z.rows(t, t + 1), gradW.rows(t, t + 1), gradZ.rows(t, t + 1), gradScale, gradR);
            }
            RowKernels.addToRow(gradients.getFirst(), gradScale, rotation.coefficient);
            if (basis != Basis.NONE) {
                addRotationGradient(rotation, gradR, gradients.get(1));
            }
            from = to;
        }
        if (gradInput != null) {
            gradInput.addTerm(gradZ, v);
        }
        workspace.release(mark);
    }

    private void backwardRow(
            Rotation rotation, Matrix zRow, Matrix gradRow, Matrix gradZ, double[] gradScale, double[] gradR) {
        float[] z = zRow.toArray();
        float[] gw = gradRow.toArray();
        float[] mapped = new float[rank];
        float[] left = new float[rank];
        float[] right = basis == Basis.U ? gw : z;
        if (basis == Basis.U) {
            rotation.apply(gw, mapped, false);
            for (int k = 0; k < rank; k++) {
                gradScale[k] += (double) mapped[k] * z[k];
                left[k] = z[k] * rotation.scale[k];
                gradZ.set(0, k, mapped[k] * rotation.scale[k] - gw[k] * s.get(0, k));
            }
        } else {
            rotation.apply(z, mapped, false);
            for (int k = 0; k < rank; k++) {
                gradScale[k] += (double) gw[k] * mapped[k];
                left[k] = gw[k] * rotation.scale[k];
            }
            rotation.apply(left, mapped, true);
            for (int k = 0; k < rank; k++) {
                gradZ.set(0, k, mapped[k] - gw[k] * s.get(0, k));
            }
        }
        for (int n = 0; n < rank; n += block) {
            for (int i = 0; i < block; i++) {
                for (int j = 0; j < block; j++) {
                    gradR[n * block + i * block + j] += (double) left[n + i] * right[n + j];
                }
            }
        }
    }

    private void addRotationGradient(Rotation rotation, double[] gradR, Matrix gradient) {
        int size = block * block;
        for (int n = 0; n < rank / block; n++) {
            double[] m = Arrays.copyOfRange(rotation.m, n * size, (n + 1) * size);
            double[] mT = SmallMatrix.transpose(m, block, block);
            double[] g = Arrays.copyOfRange(gradR, n * size, (n + 1) * size);
            double[] gradX = SmallMatrix.nn(SmallMatrix.nn(mT, g, block, block, block), mT, block, block, block);
            int entry = 0;
            for (int i = 0; i < block; i++) {
                for (int j = i + 1; j < block; j++) {
                    double ratio = skew[n * size + i * block + j] / limit;
                    // GX = 2 Mᵀ GR Mᵀ, GA = a/2 GX; both triangles share 1 - (A/l)^2
                    double skewPart = gradX[i * block + j] - gradX[j * block + i];
                    double value = rotation.coefficient * (1 - ratio * ratio) * skewPart / 2;
                    gradient.set(n, entry, (float) (gradient.get(n, entry) + value));
                    entry++;
                }
            }
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        Factors factors = lowRank(compute);
        MatMul.nn(compute, factors.scaling(), factors.b(), factors.a(), merged, true);
    }

    /// At a = 1: V basis B = U, A = diag(s) R Vᵀ - diag(S) Vᵀ, of rank `rank`; U basis alike.
    @Override
    public Factors lowRank(Compute compute) {
        Matrix middle = Matrix.allocate(Arena.ofAuto(), rank, rank);
        float[] frozen = s.toArray();
        float[] unit = new float[rank];
        float[] out = new float[rank];
        for (int k = 0; k < rank; k++) {
            Arrays.fill(unit, 0);
            unit[k] = 1;
            change(atOne, frozen, unit, out);
            for (int j = 0; j < rank; j++) {
                middle.set(j, k, out[j]);
            }
        }
        Matrix a = Matrix.allocate(Arena.ofAuto(), rank, inFeatures());
        MatMul.nn(compute, 1, middle, v, a, false);
        return new Factors(a, u, 1);
    }

    /// Which side of the singular directions turns.
    enum Basis {
        V,
        U,
        NONE
    }

    /// The configuration.
    ///
    /// @param noise whether delta starts at N(4e-4, 4e-4) as in lora-lite instead of 0
    record Recipe(int rank, int blockSize, double maxAngle, Basis basis, boolean noise) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.positive("r", 256);
            int blockSize = fields.positive("block_size", 4);
            double maxAngle = fields.number("max_rotation_angle", 0.5);
            if (!(maxAngle > 0 && maxAngle < Math.PI)) {
                throw fields.wrong("max_rotation_angle", "an angle above 0 and below pi", maxAngle);
            }
            String basis = fields.text("rotate_basis", "V");
            if (!List.of("V", "U", "none").contains(basis)) {
                throw fields.wrong("rotate_basis", "V, U or none", basis);
            }
            if (blockSize < 2 || rank % blockSize != 0) {
                throw fields.wrong("block_size", "at least 2 and a divisor of r=" + rank, blockSize);
            }
            Basis known = Basis.valueOf(basis.toUpperCase(Locale.ROOT));
            return new Recipe(rank, blockSize, maxAngle, known, !fields.flag("init_weights", true));
        }

        @Override
        public String kind() {
            return "antipasto";
        }

        @Override
        public String peftType() {
            return "ANTIPASTO";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("block_size", blockSize);
            fields.put("max_rotation_angle", maxAngle);
            fields.put("rotate_basis", basis == Basis.NONE ? "none" : basis.name());
            fields.put("init_weights", !noise);
            return fields;
        }

        @Override
        public StartData startData() {
            return StartData.INPUTS;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int limit = Math.min(site.weight().inFeatures(), site.weight().outFeatures());
            int rankOfSite = shapes.size("antipasto_S", 0, Math.min(rank, limit / blockSize * blockSize));
            if (rankOfSite < blockSize || rankOfSite > limit || rankOfSite % blockSize != 0) {
                throw new IllegalArgumentException(
                        site.name()
                                + ": r: expected a multiple of block_size="
                                + blockSize
                                + " up to "
                                + limit
                                + ", found "
                                + rankOfSite);
            }
            return new AntiPasto(site, this, rankOfSite, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            AntiPasto pasto = (AntiPasto) adapter;
            Matrix inputs = initialization.importance().get(site.name());
            int limit = Math.min(site.weight().inFeatures(), site.weight().outFeatures());
            int candidates = inputs == null ? pasto.rank : Math.min(limit, 4 * pasto.rank);
            requireEnough(site, "calibration", inputs, pasto.rank);
            requireEnough(site, "opposite", initialization.opposites().get(site.name()), pasto.rank);
            TopSvd svd = TopSvd.of(initialization.compute(), site.weight(), candidates, initialization.seed());
            int[] chosen =
                    inputs == null
                            ? first(pasto.rank)
                            : SingularDirections.choose(
                                    initialization.compute(),
                                    svd,
                                    inputs,
                                    initialization.opposites().get(site.name()),
                                    pasto.rank);
            pasto.take(svd, candidates, chosen);
            if (noise) {
                initialization.random(site, "delta").fillNormal(pasto.delta, 4e-4, 4e-4);
            }
        }

        // This many are enough for any rank: means do not get better by much.
        private static final int MOST_TOKENS_NEEDED = 64;

        // Fewer tokens than directions cannot tell the directions apart.
        private static void requireEnough(LayerSite site, String what, @Nullable Matrix rows, int rank) {
            int least = Math.min(rank, MOST_TOKENS_NEEDED);
            if (rows != null && rows.rows() < least) {
                throw new VectuneException(
                        site.name()
                                + ": AntiPaSTO needs at least "
                                + least
                                + " "
                                + what
                                + " tokens to choose "
                                + rank
                                + " directions, found "
                                + rows.rows()
                                + "; give more rows, or lower r");
            }
        }

        private static int[] first(int count) {
            int[] indices = new int[count];
            Arrays.setAll(indices, index -> index);
            return indices;
        }
    }

    private void take(TopSvd svd, int candidates, int[] chosen) {
        for (int k = 0; k < rank; k++) {
            int from = chosen[k];
            s.set(0, k, (float) svd.s()[from]);
            for (int o = 0; o < outFeatures(); o++) {
                u.set(o, k, (float) svd.u()[o * candidates + from]);
            }
            for (int i = 0; i < inFeatures(); i++) {
                v.set(k, i, (float) svd.v()[from * inFeatures() + i]);
            }
        }
    }
}
