package io.vectune.adapters.random;

import io.vectune.runtime.tensor.Matrix;

/// A small, fast, reproducible random stream (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
/// generators"). The same seed and name give the same values on every machine and JDK.
public final class SplitMix {
    /// 2^64 divided by the golden ratio, odd: the increment of the counter.
    public static final long GOLDEN = 0x9E3779B97F4A7C15L;

    private long state;
    private double spareNormal = Double.NaN;

    /// A stream of that seed.
    public SplitMix(long seed) {
        this.state = mix(seed);
    }

    /// The stream of a named thing (a parameter of a layer): independent of the order in which streams are made.
    public static SplitMix of(long seed, String name) {
        return new SplitMix(mix(seed) ^ hash(name));
    }

    /// A 64-bit hash of a name, the same everywhere.
    public static long hash(String name) {
        long hash = 0xCBF29CE484222325L;
        for (int at = 0; at < name.length(); at++) {
            hash = (hash ^ name.charAt(at)) * 0x100000001B3L;
        }
        return mix(hash);
    }

    /// The finalizer: a bijection of 64-bit words whose output bits all depend on all input bits.
    public static long mix(long z) {
        long a = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        long b = (a ^ (a >>> 27)) * 0x94D049BB133111EBL;
        return b ^ (b >>> 31);
    }

    /// 64 random bits.
    public long nextLong() {
        state += GOLDEN;
        return mix(state);
    }

    /// Uniform in [0, 1), 53 bits.
    public double nextDouble() {
        return (nextLong() >>> 11) * 0x1p-53;
    }

    /// Standard normal, by the polar method (Marsaglia) with StrictMath, so that all platforms agree.
    public double nextNormal() {
        if (!Double.isNaN(spareNormal)) {
            double value = spareNormal;
            spareNormal = Double.NaN;
            return value;
        }
        while (true) {
            double u = 2 * nextDouble() - 1;
            double v = 2 * nextDouble() - 1;
            double square = u * u + v * v;
            if (square > 0 && square < 1) {
                double factor = StrictMath.sqrt(-2 * StrictMath.log(square) / square);
                spareNormal = v * factor;
                return u * factor;
            }
        }
    }

    /// Fills with uniform values in [-bound, bound).
    public void fillUniform(Matrix matrix, double bound) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                matrix.set(row, column, (float) ((2 * nextDouble() - 1) * bound));
            }
        }
    }

    /// Fills with normal values.
    public void fillNormal(Matrix matrix, double mean, double deviation) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                matrix.set(row, column, (float) (mean + deviation * nextNormal()));
            }
        }
    }

    /// Kaiming-uniform with a = sqrt(5) of a matrix (n, fanIn), as torch initializes linear layers: U(-1/sqrt(fanIn),
    /// 1/sqrt(fanIn)).
    public void fillKaiming(Matrix matrix) {
        fillUniform(matrix, 1 / Math.sqrt(matrix.columns()));
    }
}
