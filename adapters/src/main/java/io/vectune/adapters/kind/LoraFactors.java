package io.vectune.adapters.kind;

import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.linalg.Qr;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;

/// Start values of the factors A (rank, inFeatures) and B (outFeatures, rank), both zero before.
final class LoraFactors {
    private LoraFactors() {}

    static void start(
            LoraStart start, LayerSite site, Initialization initialization, float scaling, Matrix a, Matrix b) {
        checkRank(start, site, a.rows());
        SplitMix randomA = initialization.random(site, "loraA");
        SplitMix randomB = initialization.random(site, "loraB");
        switch (start.method()) {
            case KAIMING -> randomA.fillKaiming(a);
            case RANDOM -> {
                randomA.fillKaiming(a);
                randomB.fillKaiming(b);
            }
            case GAUSSIAN -> randomA.fillNormal(a, 0, 1.0 / a.rows());
            case ORTHOGONAL -> orthogonal(site, randomA, randomB, a, b);
            case EVA -> directions(site, initialization, a);
            case MICA -> minor(site.weight(), b);
            case LOFTQ -> residual(site, initialization, scaling, a, b);
            case PISSA -> principal(initialization.compute(), site.weight(), scaling, a, b);
            case OLORA -> qr(initialization.compute(), site.weight(), a, b);
        }
    }

    private static void checkRank(LoraStart start, LayerSite site, int rank) {
        int limit = Math.min(site.weight().inFeatures(), site.weight().outFeatures());
        boolean bounded = start.isResidual() || start.method() == LoraStart.Method.MICA;
        if (bounded && rank > limit) {
            throw new IllegalArgumentException(
                    site.name()
                            + ": r: expected at most "
                            + limit
                            + ", the smaller side of the weight, for init_lora_weights = "
                            + start.field()
                            + "; found "
                            + rank);
        }
    }

    // A = (X Q_odd)ᵀ/10, B = Y Q_even/10 with the rows of one orthogonal Q: B A = 0.
    private static void orthogonal(LayerSite site, SplitMix randomA, SplitMix randomB, Matrix a, Matrix b) {
        int rank = a.rows();
        if (rank % 2 != 0) {
            throw new IllegalArgumentException(
                    site.name() + ": the orthogonal start needs an even rank, found r=" + rank);
        }
        double[] square = new double[rank * rank];
        for (int i = 0; i < square.length; i++) {
            square[i] = randomA.nextNormal();
        }
        double[] q = Qr.of(square, rank, rank).q();
        combine(randomA, q, rank, 0, a.columns(), (i, k, value) -> a.set(k, i, value));
        combine(randomB, q, rank, 1, b.rows(), (o, k, value) -> b.set(o, k, value));
    }

    private interface Setter {
        void set(int feature, int component, float value);
    }

    private static void combine(SplitMix random, double[] q, int rank, int parity, int features, Setter setter) {
        double[] weights = new double[rank / 2];
        for (int feature = 0; feature < features; feature++) {
            for (int j = 0; j < weights.length; j++) {
                weights[j] = random.nextNormal();
            }
            for (int k = 0; k < rank; k++) {
                double sum = 0;
                for (int j = 0; j < weights.length; j++) {
                    sum += weights[j] * q[(2 * j + parity) * rank + k];
                }
                setter.set(feature, k, (float) (sum / 10));
            }
        }
    }

    private static void directions(LayerSite site, Initialization initialization, Matrix a) {
        Matrix directions = initialization.directions().get(site.name());
        if (directions == null || directions.rows() < a.rows()) {
            throw new VectuneException(
                    site.name()
                            + ": EVA needs "
                            + a.rows()
                            + " principal directions of the layer's inputs, found "
                            + (directions == null ? "none" : directions.rows())
                            + "; give calibration data with more tokens");
        }
        a.copyFrom(directions.rows(0, a.rows()));
    }

    private static void minor(Weight weight, Matrix b) {
        int rank = b.columns();
        TopSvd svd = TopSvd.trailing(weight, rank);
        for (int o = 0; o < b.rows(); o++) {
            for (int k = 0; k < rank; k++) {
                b.set(o, k, (float) svd.u()[o * rank + k]);
            }
        }
    }

    // The top singular triples of what quantization lost: s B A ~ W - quantized W.
    private static void residual(LayerSite site, Initialization initialization, float scaling, Matrix a, Matrix b) {
        Weight original = initialization.originals().get(site.name());
        if (original == null) {
            throw new VectuneException(
                    site.name() + ": LoftQ needs the weight before quantization; give the original model as well");
        }
        int out = original.outFeatures();
        int in = original.inFeatures();
        double[] lost = new double[Math.multiplyExact(out, in)];
        float[] before = new float[in];
        float[] after = new float[in];
        for (int o = 0; o < out; o++) {
            original.decode(o, o + 1, 0, in, before, 0, in);
            site.weight().decode(o, o + 1, 0, in, after, 0, in);
            for (int i = 0; i < in; i++) {
                lost[o * in + i] = (double) before[i] - after[i];
            }
        }
        split(TopSvd.exact(lost, out, in, a.rows()), scaling, a, b);
    }

    /// PiSSA: B A = top singular part of W / scaling, split evenly. Files do not hold it: whoever loads one decomposes
    /// W again and must find the same.
    static void principal(Compute compute, Weight weight, float scaling, Matrix a, Matrix b) {
        split(TopSvd.converged(compute, weight, a.rows()), scaling, a, b);
    }

    private static void split(TopSvd svd, float scaling, Matrix a, Matrix b) {
        int rank = a.rows();
        for (int k = 0; k < rank; k++) {
            double root = Math.sqrt(svd.s()[k] / scaling);
            for (int i = 0; i < a.columns(); i++) {
                a.set(k, i, (float) (root * svd.v()[k * a.columns() + i]));
            }
            for (int o = 0; o < b.rows(); o++) {
                b.set(o, k, (float) (root * svd.u()[o * rank + k]));
            }
        }
    }

    /// OLoRA: B = the first columns of Q, A = the first rows of R, of W = Q R. The first columns of W settle Q's.
    static void qr(Compute compute, Weight weight, Matrix a, Matrix b) {
        int rank = a.rows();
        int out = weight.outFeatures();
        float[] tile = new float[out * rank];
        weight.decode(0, out, 0, rank, tile, 0, rank);
        double[] columns = new double[tile.length];
        for (int i = 0; i < tile.length; i++) {
            columns[i] = tile[i];
        }
        double[] q = Qr.of(columns, out, rank).q();
        long mark = compute.workspace().mark();
        Matrix transposed = compute.workspace().matrix(rank, out);
        for (int o = 0; o < out; o++) {
            for (int k = 0; k < rank; k++) {
                b.set(o, k, (float) q[o * rank + k]);
                transposed.set(k, o, (float) q[o * rank + k]);
            }
        }
        MatMul.multiplyTransposed(compute, weight, transposed, a, false);
        compute.workspace().release(mark);
    }
}
