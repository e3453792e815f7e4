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
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// ROAD (Liao, Monz 2024, arXiv 2409.00119): scaled rotations in planes of two outputs.
///
/// Outputs form groups of groupSize; p in the first half of a group pairs with q = p + groupSize/2:
///
///     y_p = c1_p y0_p - c2_p y0_q        y_q = c1_q y0_q + c2_q y0_p        y0 = x Wᵀ + b
///     c1 = alpha cos(theta), c2 = alpha sin(theta)
///
/// | variant | parameters theta, alpha each | who shares |
/// |---|---|---|
/// | road_1 | outFeatures/2 | one for both outputs of a pair |
/// | road_2 | outFeatures | one an output |
/// | road_4 | 2 outFeatures | c1 and c2 of an output have their own; file order (group, 2, groupSize) |
///
/// Start: theta 0, alpha 1: exactly the identity. Files: road_theta (n), road_alpha (n). Forward saves y0.
///
///     D1 = sum_t gY ⊙ y0      D2 = sum_t gY ⊙ rot(y0), rot(v)_p = -v_q, rot(v)_q = v_p
///     dtheta = -alpha sin(theta) D1 + alpha cos(theta) D2      dalpha = cos(theta) D1 + sin(theta) D2
///     gY0 = gY ⊙ c1 + rotᵀ(gY ⊙ c2)                             gX = gY0 W
///
/// Merge     the same map on the rows of W and on the bias
/// Source    peft tuners/road/layer.py
public final class Road extends LayerAdapter implements ProductMap {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("road", "ROAD", Recipe::read);

    private final Variant variant;
    private final int half;
    private final Matrix theta;
    private final Matrix alpha;
    private final float[] c1;
    private final float[] c2;

    private Road(LayerSite site, Variant variant, int groupSize, Arena arena) {
        super("road", site);
        this.variant = variant;
        this.half = groupSize / 2;
        int count = variant.parameters(outFeatures());
        this.theta = Matrix.allocate(arena, 1, count);
        this.alpha = Matrix.allocate(arena, 1, count);
        alpha.fill(1);
        this.c1 = new float[outFeatures()];
        this.c2 = new float[outFeatures()];
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.vector("theta", "road_theta", Role.ROTATION, theta),
                AdapterParameter.vector("alpha", "road_alpha", Role.SCALE, alpha));
    }

    @Override
    public Form form() {
        return Form.MAPS_OUTPUT;
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * outFeatures();
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        for (int o = 0; o < c1.length; o++) {
            int cosine = variant.cosineIndex(o, half);
            int sine = variant.sineIndex(o, half);
            c1[o] = (float) (alpha.get(0, cosine) * StrictMath.cos(theta.get(0, cosine)));
            c2[o] = (float) (alpha.get(0, sine) * StrictMath.sin(theta.get(0, sine)));
        }
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        RowKernels.addRow(call.compute(), y, call.bias());
        if (call.saved() != null) {
            RowKernels.copy(call.compute(), y, call.saved(0, y.rows(), outFeatures()));
        }
        RowKernels.eachRow(call.compute(), y, (row, columns) -> rotate(row, columns));
    }

    private void rotate(float[] row, int columns) {
        for (int group = 0; group < columns; group += 2 * half) {
            for (int p = group; p < group + half; p++) {
                float first = row[p];
                float second = row[p + half];
                row[p] = c1[p] * first - c2[p] * second;
                row[p + half] = c1[p + half] * second + c2[p + half] * first;
            }
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
        long mark = workspace.mark();
        Matrix y0 = call.saved(0, gradOutput.rows(), outFeatures());
        double[] d1 = new double[outFeatures()];
        double[] d2 = new double[outFeatures()];
        RowKernels.columnDots(compute, gradOutput, y0, d1);
        Matrix rotated = workspace.matrix(gradOutput.rows(), outFeatures());
        RowKernels.eachRowInto(compute, y0, rotated, (from, to, columns) -> quarterTurn(from, to, columns));
        RowKernels.columnDots(compute, gradOutput, rotated, d2);
        for (int o = 0; o < c1.length; o++) {
            int cosine = variant.cosineIndex(o, half);
            int sine = variant.sineIndex(o, half);
            double a1 = alpha.get(0, cosine);
            double a2 = alpha.get(0, sine);
            double t1 = theta.get(0, cosine);
            double t2 = theta.get(0, sine);
            add(gradients.get(0), cosine, -a1 * StrictMath.sin(t1) * d1[o]);
            add(gradients.get(0), sine, a2 * StrictMath.cos(t2) * d2[o]);
            add(gradients.get(1), cosine, StrictMath.cos(t1) * d1[o]);
            add(gradients.get(1), sine, StrictMath.sin(t2) * d2[o]);
        }
        if (gradProduct != null) {
            RowKernels.eachRowInto(
                    compute, gradOutput, gradProduct, (from, to, columns) -> rotateBack(from, to, columns));
        }
        workspace.release(mark);
    }

    private static void add(Matrix gradient, int index, double value) {
        gradient.set(0, index, (float) (gradient.get(0, index) + value));
    }

    private void quarterTurn(float[] from, float[] to, int columns) {
        for (int group = 0; group < columns; group += 2 * half) {
            for (int p = group; p < group + half; p++) {
                to[p] = -from[p + half];
                to[p + half] = from[p];
            }
        }
    }

    private void rotateBack(float[] from, float[] to, int columns) {
        for (int group = 0; group < columns; group += 2 * half) {
            for (int p = group; p < group + half; p++) {
                int q = p + half;
                to[p] = from[p] * c1[p] + from[q] * c2[q];
                to[q] = from[q] * c1[q] - from[p] * c2[p];
            }
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        for (int group = 0; group < outFeatures(); group += 2 * half) {
            for (int p = group; p < group + half; p++) {
                for (int i = 0; i < inFeatures(); i++) {
                    float first = merged.get(p, i);
                    float second = merged.get(p + half, i);
                    merged.set(p, i, c1[p] * first - c2[p] * second);
                    merged.set(p + half, i, c1[p + half] * second + c2[p + half] * first);
                }
            }
        }
    }

    @Override
    public boolean changesBias() {
        return site.bias() != null;
    }

    @Override
    public void mergeBias(@Nullable Matrix bias, Matrix merged) {
        ProductMap.super.mergeBias(bias, merged);
        float[] row = merged.toArray();
        rotate(row, row.length);
        for (int o = 0; o < row.length; o++) {
            merged.set(0, o, row[o]);
        }
    }

    /// Who shares an angle and a scale.
    enum Variant {
        ROAD_1,
        ROAD_2,
        ROAD_4;

        int parameters(int outFeatures) {
            return switch (this) {
                case ROAD_1 -> outFeatures / 2;
                case ROAD_2 -> outFeatures;
                case ROAD_4 -> 2 * outFeatures;
            };
        }

        // Place of the angle and scale of c1 of output o.
        int cosineIndex(int o, int half) {
            int group = o / (2 * half);
            int within = o % (2 * half);
            return switch (this) {
                case ROAD_1 -> group * half + within % half;
                case ROAD_2 -> o;
                case ROAD_4 -> group * 4 * half + within;
            };
        }

        // Place of the angle and scale of c2 of output o.
        int sineIndex(int o, int half) {
            return this == ROAD_4 ? cosineIndex(o, half) + 2 * half : cosineIndex(o, half);
        }
    }

    /// The configuration.
    record Recipe(Variant variant, int groupSize, boolean identity) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            String name = fields.text("variant", "road_1");
            if (!List.of("road_1", "road_2", "road_4").contains(name)) {
                throw fields.wrong("variant", "road_1, road_2 or road_4", name);
            }
            int groupSize = fields.positive("group_size", 64);
            if (groupSize % 2 != 0) {
                throw fields.wrong("group_size", "an even number", groupSize);
            }
            Variant variant = Variant.valueOf(name.toUpperCase(Locale.ROOT));
            return new Recipe(variant, groupSize, fields.flag("init_weights", true));
        }

        @Override
        public String kind() {
            return "road";
        }

        @Override
        public String peftType() {
            return "ROAD";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("variant", variant.name().toLowerCase(Locale.ROOT));
            fields.put("group_size", groupSize);
            fields.put("init_weights", identity);
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            if (site.weight().outFeatures() % groupSize != 0) {
                throw new IllegalArgumentException(
                        site.name()
                                + ": group_size: expected a divisor of outFeatures="
                                + site.weight().outFeatures()
                                + ", found "
                                + groupSize);
            }
            return new Road(site, variant, groupSize, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            if (!identity) {
                Road road = (Road) adapter;
                initialization.random(site, "theta").fillNormal(road.theta, 0, 0.5);
                initialization.random(site, "alpha").fillNormal(road.alpha, 1, 0.5);
            }
        }
    }
}
