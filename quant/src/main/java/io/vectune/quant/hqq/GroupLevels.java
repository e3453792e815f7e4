package io.vectune.quant.hqq;

/// The levels of groups: weight = (code - zero) / inverse for the codes 0 to maxCode.
final class GroupLevels {
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

    /// Repeats the levels of one group.
    void fill(GroupLevels groups, int group, int from, int to) {
        for (int i = from; i < to; i++) {
            inverse[i] = groups.inverse[group];
            zero[i] = groups.zero[group];
        }
    }
}
