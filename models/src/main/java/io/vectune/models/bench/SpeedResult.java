package io.vectune.models.bench;

/// What was measured of a case.
///
/// @param name of the case
/// @param limit what bounds it
/// @param unit what it gets through
/// @param secondsARun seconds of one run, the median over rounds
/// @param unitsASecond units that it got through a second
/// @param limitRate the limit, 10^9 a second, the median over rounds
/// @param share percent of the limit that it reached, the median over rounds of run and limit measured in turns
/// @param spread largest share of a round over the smallest
public record SpeedResult(
        String name,
        Limit limit,
        String unit,
        double secondsARun,
        double unitsASecond,
        double limitRate,
        double share,
        double spread) {}
