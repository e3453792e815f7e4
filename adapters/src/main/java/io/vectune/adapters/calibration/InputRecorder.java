package io.vectune.adapters.calibration;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Watches the inputs of layers while a host runs over calibration data. The host passes [#adapters] with its calls, as
/// it would pass any adapters; they compute the base and look at x.
///
/// Layers that get the same input (q, k and v of a block) are found in the first batch, by the content of x, and share
/// their statistics. Not thread-safe: one session calibrates.
public final class InputRecorder implements AutoCloseable {
    private final AdapterSet adapters;
    private final boolean moments;
    private final int samples;
    private final SplitMix random;
    private final Arena arena = Arena.ofShared();
    private final Map<String, String> ownerOf = new LinkedHashMap<>();
    private final Map<Long, String> firstInputs = new LinkedHashMap<>();
    private final Map<String, InputMoments> momentsOf = new LinkedHashMap<>();
    private final Map<String, Matrix> samplesOf = new LinkedHashMap<>();
    private final Map<String, Long> seen = new LinkedHashMap<>();
    private boolean[] mask = new boolean[0];

    /// @param sites the layers to watch
    /// @param moments whether to keep second moments, for EVA
    /// @param samples how many input rows a layer to keep, an even sample of all, for AntiPaSTO; 0 for none
    /// @param seed of the sample
    public InputRecorder(List<LayerSite> sites, boolean moments, int samples, long seed) {
        this.moments = moments;
        this.samples = samples;
        this.random = new SplitMix(seed);
        Map<String, Adapter> watching = new LinkedHashMap<>();
        sites.forEach(site -> watching.put(site.name(), new Watch(site)));
        this.adapters = AdapterSet.of(watching, sites);
    }

    /// What to pass with calls.
    public AdapterSet adapters() {
        return adapters;
    }

    /// Which rows of the next calls count: padding and ignored labels do not. An empty array: all.
    public void count(boolean... rows) {
        mask = rows.clone();
    }

    /// The second moments of a layer's inputs.
    ///
    /// @throws IllegalStateException if the layer saw no inputs
    public InputMoments moments(String module) {
        InputMoments found = momentsOf.get(ownerOf.getOrDefault(module, module));
        if (found == null) {
            throw new IllegalStateException(module + ": no inputs were seen; run the model over calibration data");
        }
        return found;
    }

    /// The layer whose statistics a layer shares: itself, or one with equal inputs.
    public String owner(String module) {
        return ownerOf.getOrDefault(module, module);
    }

    /// The sampled inputs by module (rows, inFeatures); live until the recorder is closed.
    public Map<String, Matrix> samples() {
        Map<String, Matrix> result = new LinkedHashMap<>();
        ownerOf.forEach((module, owner) -> {
            Matrix rows = samplesOf.get(owner);
            if (rows != null) {
                long count = Math.min(samples, seen.getOrDefault(owner, 0L));
                result.put(module, rows.rows(0, Math.toIntExact(count)));
            }
        });
        return result;
    }

    private void see(String module, Compute compute, Matrix x) {
        if (mask.length != 0 && mask.length != x.rows()) {
            throw new IllegalStateException(
                    "calibration: expected a mask of " + x.rows() + " rows, found " + mask.length);
        }
        String owner = ownerOf.get(module);
        if (owner == null) {
            owner = firstInputs.computeIfAbsent(hash(x), key -> module);
            ownerOf.put(module, owner);
        }
        if (!owner.equals(module)) {
            return;
        }
        long mark = compute.workspace().mark();
        Matrix counted = counted(compute, x);
        if (counted.rows() > 0) {
            if (moments) {
                momentsOf.computeIfAbsent(module, key -> new InputMoments(x.columns())).add(compute, counted);
            }
            sample(module, counted);
        }
        compute.workspace().release(mark);
    }

    private Matrix counted(Compute compute, Matrix x) {
        int count = 0;
        for (boolean row : mask) {
            count += row ? 1 : 0;
        }
        if (mask.length == 0 || count == x.rows()) {
            return x;
        }
        Matrix kept = compute.workspace().matrix(count, x.columns());
        int at = 0;
        for (int t = 0; t < x.rows(); t++) {
            if (mask[t]) {
                kept.rows(at, at + 1).copyFrom(x.rows(t, t + 1));
                at++;
            }
        }
        return kept;
    }

    // Reservoir sampling: each row of the stream has the same chance.
    private void sample(String module, Matrix x) {
        if (samples == 0) {
            return;
        }
        Matrix kept = samplesOf.computeIfAbsent(module, key -> Matrix.allocate(arena, samples, x.columns()));
        long count = seen.getOrDefault(module, 0L);
        for (int t = 0; t < x.rows(); t++) {
            long place = count < samples ? count : (long) (random.nextDouble() * (count + 1));
            if (place < samples) {
                kept.rows((int) place, (int) place + 1).copyFrom(x.rows(t, t + 1));
            }
            count++;
        }
        seen.put(module, count);
    }

    private static long hash(Matrix x) {
        long hash = SplitMix.mix(((long) x.rows() << 32) + x.columns());
        for (int t = 0; t < x.rows(); t++) {
            MemorySegment row = x.segment().asSlice(x.rowOffset(t), 4L * x.columns());
            for (long at = 0; at < row.byteSize(); at += 4) {
                hash = SplitMix.mix(hash ^ row.get(Tensor.INT, at)) + SplitMix.GOLDEN;
            }
        }
        return hash;
    }

    @Override
    public void close() {
        adapters.close();
        arena.close();
    }

    private final class Watch implements Adapter {
        private final LayerSite site;

        private Watch(LayerSite site) {
            this.site = site;
        }

        @Override
        public String kind() {
            return "calibration";
        }

        @Override
        public int inFeatures() {
            return site.weight().inFeatures();
        }

        @Override
        public int outFeatures() {
            return site.weight().outFeatures();
        }

        @Override
        public List<AdapterParameter> parameters() {
            return List.of();
        }

        @Override
        public void refresh(Compute compute, Weight weight) {
            // No parameters.
        }

        @Override
        public long savedFloats(int tokens) {
            return 0;
        }

        @Override
        public void forward(AdapterCall call, Matrix y) {
            see(site.name(), call.compute(), call.x());
            MatMul.multiply(call.compute(), call.weight(), call.x(), y, false);
            RowKernels.addRow(call.compute(), y, call.bias());
        }

        @Override
        public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
            if (gradInput != null) {
                MatMul.multiplyTransposed(call.compute(), call.weight(), gradOutput, gradInput, false);
            }
        }

        @Override
        public void merge(Compute compute, Weight weight, Matrix merged) {
            throw new IllegalStateException("calibration changes nothing that could be merged");
        }
    }
}
