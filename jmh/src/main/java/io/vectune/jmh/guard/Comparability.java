package io.vectune.jmh.guard;

import io.vectune.jmh.guard.GuardBaseline.Machine;

/// What of a baseline can be judged on the machine at hand.
public enum Comparability {
    /// The processor and vectors that the baseline was recorded with: everything.
    EVERYTHING("everything is judged"),

    /// Another processor with vectors as wide: not shares of its limits, whose ratios to each other differ; but
    /// allocations, the vector tier beside the scalar tier, and quantized products beside f32 in the same fork.
    RATIOS("only allocations, ratios of tiers and products beside f32 are judged"),

    /// Other vectors: only allocations.
    ALLOCATIONS("only allocations are judged");

    private final String meaning;

    Comparability(String meaning) {
        this.meaning = meaning;
    }

    /// What of a baseline recorded on one machine means something on another.
    public static Comparability of(Machine recorded, Machine here) {
        if (recorded.vectorBits() != 0 && recorded.vectorBits() != here.vectorBits()) {
            return ALLOCATIONS;
        }
        return recorded.processor().isEmpty() || recorded.processor().equals(here.processor()) ? EVERYTHING : RATIOS;
    }

    /// Whether the share of an entry is judged.
    boolean judgesShare(GuardEntry entry) {
        return this == EVERYTHING || (this == RATIOS && entry.metric().equals("referencePercent"));
    }

    /// Whether the speed beside another entry is judged.
    boolean judgesRatios() {
        return this != ALLOCATIONS;
    }

    /// In words, for people.
    public String meaning() {
        return meaning;
    }
}
