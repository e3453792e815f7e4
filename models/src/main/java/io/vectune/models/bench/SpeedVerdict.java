package io.vectune.models.bench;

/// How a case compares with what was recorded of it.
///
/// @param recorded the entry of the baseline
/// @param result what was measured last
/// @param repeats how often it was measured again because it seemed slower
public record SpeedVerdict(SpeedBaseline.Entry recorded, SpeedResult result, int repeats) {
    /// Whether it is as fast as recorded, within the tolerance.
    public boolean passed() {
        return result.share() >= recorded.leastShare();
    }
}
