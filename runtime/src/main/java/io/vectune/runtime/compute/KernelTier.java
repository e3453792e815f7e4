package io.vectune.runtime.compute;

import java.lang.System.Logger.Level;
import java.util.Locale;

/// Which implementation of the kernels this process uses; chosen once, in this one place.
///
/// The property `vectune.kernels` asks for `scalar`, `vector` or `auto` (the default); `vectune.vectorBits` asks for a
/// width of 128, 256 or 512 bits instead of the widest that the machine prefers. Where the Vector API is missing and
/// nobody asked for the scalar tier, a warning goes to the [System.Logger] of this package, once.
public enum KernelTier {
    /// Plain Java in formula order: the reference, and the fallback.
    SCALAR,
    /// The Vector API.
    VECTOR;

    private static final Choice CHOICE = choose();

    /// The tier and why it was chosen.
    ///
    /// @param tier the tier in use
    /// @param vectorBits the vector width in bits; 0 in the scalar tier
    /// @param reason one sentence for people
    /// @param fallback whether the scalar tier is in use though nobody asked for it
    public record Choice(KernelTier tier, int vectorBits, String reason, boolean fallback) {}

    /// The tier in use.
    public static KernelTier active() {
        return CHOICE.tier;
    }

    /// The tier in use and why.
    public static Choice choice() {
        return CHOICE;
    }

    private static Choice choose() {
        String asked = System.getProperty("vectune.kernels", "auto").toLowerCase(Locale.ROOT);
        if (asked.equals("scalar")) {
            return new Choice(SCALAR, 0, "asked for by -Dvectune.kernels=scalar", false);
        }
        if (!asked.equals("auto") && !asked.equals("vector")) {
            throw new IllegalArgumentException(
                    "-Dvectune.kernels: expected scalar, vector or auto, found \"" + asked + "\"");
        }
        try {
            Class.forName("jdk.incubator.vector.FloatVector", false, KernelTier.class.getClassLoader());
        } catch (ClassNotFoundException absent) {
            String reason =
                    "module jdk.incubator.vector is not resolved: start java with"
                            + " --add-modules jdk.incubator.vector, or accept the slow scalar tier with -Dvectune.kernels=scalar";
            if (asked.equals("vector")) {
                throw new IllegalStateException(reason, absent);
            }
            System.getLogger(KernelTier.class.getPackageName())
                    .log(Level.WARNING, "Vectune computes slowly: " + reason);
            return new Choice(SCALAR, 0, reason, true);
        }
        int bits = VectorWidth.bits();
        return new Choice(VECTOR, bits, "the Vector API is there, with vectors of " + bits + " bits", false);
    }
}
