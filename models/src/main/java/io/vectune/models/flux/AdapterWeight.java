package io.vectune.models.flux;

/// The weight of one active adapter, read by all its layers at each call: a change costs one store.
final class AdapterWeight {
    private volatile float value;

    AdapterWeight(float value) {
        this.value = value;
    }

    float value() {
        return value;
    }

    void set(float newValue) {
        value = newValue;
    }
}
