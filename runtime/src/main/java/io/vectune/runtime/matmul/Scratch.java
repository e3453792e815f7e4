package io.vectune.runtime.matmul;

/// Floats that a worker or a product keeps for the next one: an array that grows with what it is asked for. What it
/// held is lost when it grows.
final class Scratch {
    private float[] array = new float[0];

    /// The array, with at least so many elements.
    float[] ofLength(int length) {
        if (array.length < length) {
            array = new float[length];
        }
        return array;
    }

    /// The array as it was asked for last.
    float[] array() {
        return array;
    }
}
