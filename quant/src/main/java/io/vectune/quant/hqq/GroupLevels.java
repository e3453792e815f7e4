package io.vectune.quant.hqq;

/// The levels of groups: weight = (code - zero) / inverse for the codes 0 to maxCode.
final class GroupLevels {
    private static final float SMALL_RANGE = 1e-4f;
    private static final float LARGEST_INVERSE = 2e4f;

    private final float[] inverse;
    private final float[] zero;
    private final float maxCode;

    /// @param inverse 1 / scale of each group
    /// @param zero the zero point of each group
    /// @param maxCode the largest code
    GroupLevels(float[] inverse, float[] zero, float maxCode) {
        this.inverse = inverse;
        this.zero = zero;
        this.maxCode = maxCode;
    }

    static GroupLevels of(int groups, float maxCode) {
        return new GroupLevels(new float[groups], new float[groups], maxCode);
    }

    /// 1 / scale of each group.
    float[] inverse() {
        return inverse;
    }

    /// The zero point of each group.
    float[] zero() {
        return zero;
    }

    /// The largest code.
    float maxCode() {
        return maxCode;
    }

    /// Sets the levels of a group with that range (see [HqqSolver]).
    void start(int group, float min, float max, boolean roundZero) {
        float range = max - min;
        // hqq divides an integer by a tensor, which torch computes as a product with the reciprocal: two roundings
        float scaled = 1f / range * maxCode;
        float start = Math.min(range <= SMALL_RANGE ? 1f : scaled, LARGEST_INVERSE);
        float offset = -min * start;
        inverse[group] = start;
        zero[group] = roundZero ? (float) Math.rint(offset) : offset;
    }

    /// Repeats the levels of one group.
    void fill(GroupLevels groups, int group, int from, int to) {
        for (int i = from; i < to; i++) {
            inverse[i] = groups.inverse[group];
            zero[i] = groups.zero[group];
        }
    }
}
