package io.vectune.runtime.compute;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// The vector width of the vector tier. Kept apart from [KernelTier] so that the scalar tier never loads a Vector API
/// class.
public final class VectorWidth {
    private VectorWidth() {}

    /// The f32 species that all vector kernels use.
    public static final VectorSpecies<Float> F32 = species();

    /// Its width in bits.
    public static int bits() {
        return F32.vectorBitSize();
    }

    private static VectorSpecies<Float> species() {
        String asked = System.getProperty("vectune.vectorBits", "auto");
        return switch (asked) {
            case "auto" -> FloatVector.SPECIES_PREFERRED;
            case "128" -> VectorSpecies.of(float.class, VectorShape.S_128_BIT);
            case "256" -> VectorSpecies.of(float.class, VectorShape.S_256_BIT);
            case "512" -> VectorSpecies.of(float.class, VectorShape.S_512_BIT);
            default ->
                    throw new IllegalArgumentException(
                            "-Dvectune.vectorBits: expected 128, 256, 512 or auto, found \"" + asked + "\"");
        };
    }
}
