package io.vectune.quant.hqq;

import io.vectune.runtime.compute.VectorWidth;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// [FloatPower] lane by lane: the same roundings in the same order, so that each lane has its bits.
///
/// A pair of vectors `aHigh`, `aLow` is one [DoubleFloat] a lane. The computation is cut into passes over the values,
/// each short enough to be compiled without objects; what passes hand on stays in the nearest cache. They are called
/// through one call site, so that C2 cannot put them back together: once it inlined all five, each vector was an
/// object.
final class VectorFloatPower {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = F32.withLanes(int.class);
    private static final int LANES = F32.length();
    private static final int MANTISSA_BITS = 23;
    private static final int BIAS = 127;

    private static final List<Pass> PASSES =
            List.of(
                    (values, count, _) -> ratio(values, count),
                    (values, count, _) -> cubicTerm(values, count),
                    VectorFloatPower::logarithm,
                    (values, count, _) -> reduce(values, count),
                    (values, count, _) -> exponential(values, count));

    private VectorFloatPower() {}

    private interface Pass {
        void run(float[] values, int count, float y);
    }

    /// `values[i] = values[i]^y` for finite, positive, normal values and results in the normal range; others become any
    /// number.
    ///
    /// @param values at least [5][count]: the values, and scratch
    /// @param count a multiple of the lanes
    static void powers(float[] values, int count, float y) {
        for (int i = 0; i < PASSES.size(); i++) {
            PASSES.get(i).run(values, count, y);
        }
    }

    /// Sections 1 and 2 become t = (m - 1) / (m + 1), m the mantissa in [0.75, 1.5).
    private static void ratio(float[] values, int count) {
        FloatVector one = constant(1f);
        FloatVector minusOne = constant(-1f);
        for (int i = 0; i < count; i += LANES) {
            FloatVector x = FloatVector.fromArray(F32, values, i);
            FloatVector mantissa = timesPowerOfTwo(x, exponent(x).neg());
            FloatVector aHigh = minusOne.add(mantissa);
            FloatVector aLow = sumLow(minusOne, mantissa, aHigh);
            FloatVector bHigh = one.add(mantissa);
            FloatVector bLow = sumLow(one, mantissa, bHigh);
            FloatVector reciprocal = one.div(bHigh);
            FloatVector tHigh = aHigh.mul(reciprocal);
            FloatVector rest = reciprocal.fma(aHigh, tHigh.neg());
            FloatVector correction = bLow.neg().fma(reciprocal, bHigh.neg().fma(reciprocal, one));
            tHigh.intoArray(values, count + i);
            tHigh.fma(correction, aLow.fma(reciprocal, rest)).intoArray(values, 2 * count + i);
        }
    }

    /// Sections 3 and 4 become t^3 * (2/3 + t^2 * series).
    private static void cubicTerm(float[] values, int count) {
        FloatVector thirds = constant(FloatPower.TWO_THIRDS.high());
        for (int i = 0; i < count; i += LANES) {
            FloatVector tHigh = FloatVector.fromArray(F32, values, count + i);
            FloatVector tLow = FloatVector.fromArray(F32, values, 2 * count + i);
            FloatVector sHigh = tHigh.mul(tHigh);
            FloatVector sLow = tHigh.add(tHigh).fma(tLow, tHigh.fma(tHigh, sHigh.neg()));
            FloatVector series =
                    sHigh.fma(constant(FloatPower.LOG_3), constant(FloatPower.LOG_2))
                            .fma(sHigh, constant(FloatPower.LOG_1));
            FloatVector pHigh = sHigh.mul(series);
            FloatVector pLow = sLow.fma(series, sHigh.fma(series, pHigh.neg()));
            FloatVector qHigh = pHigh.add(thirds);
            FloatVector qLow = sumLow(pHigh, thirds, qHigh).add(pLow.add(FloatPower.TWO_THIRDS.low()));
            FloatVector cHigh = sHigh.mul(tHigh);
            FloatVector cLow = productLow(sHigh, sLow, tHigh, tLow, cHigh);
            FloatVector dHigh = cHigh.mul(qHigh);
            dHigh.intoArray(values, 3 * count + i);
            productLow(cHigh, cLow, qHigh, qLow, dHigh).intoArray(values, 4 * count + i);
        }
    }

    /// Sections 1 and 2 become y * (exponent * ln 2 + 2 t + the cubic term).
    private static void logarithm(float[] values, int count, float y) {
        FloatVector ln2 = constant(FloatPower.LN2.high());
        FloatVector ln2Low = constant(FloatPower.LN2.low());
        FloatVector factor = constant(y);
        for (int i = 0; i < count; i += LANES) {
            IntVector exponent = exponent(FloatVector.fromArray(F32, values, i));
            FloatVector power = (FloatVector) exponent.convertShape(VectorOperators.I2F, F32, 0);
            FloatVector eHigh = ln2.mul(power);
            FloatVector eLow = ln2Low.fma(power, ln2.fma(power, eHigh.neg()));
            FloatVector tHigh = FloatVector.fromArray(F32, values, count + i).mul(2f);
            FloatVector tLow = FloatVector.fromArray(F32, values, 2 * count + i).mul(2f);
            FloatVector fHigh = eHigh.add(tHigh);
            FloatVector fLow = smallerLow(eHigh, eLow, tHigh, tLow, fHigh);
            FloatVector dHigh = FloatVector.fromArray(F32, values, 3 * count + i);
            FloatVector dLow = FloatVector.fromArray(F32, values, 4 * count + i);
            FloatVector high = fHigh.add(dHigh);
            FloatVector low = smallerLow(fHigh, fLow, dHigh, dLow, high);
            FloatVector product = high.mul(factor);
            product.intoArray(values, count + i);
            low.fma(factor, high.fma(factor, product.neg())).intoArray(values, 2 * count + i);
        }
    }

    /// Section 3 becomes n, the multiple of ln 2 nearest to sections 1 and 2, which lose n ln 2.
    private static void reduce(float[] values, int count) {
        FloatVector minusUpper = constant(-FloatPower.LN2_UPPER);
        FloatVector minusLower = constant(-FloatPower.LN2_LOWER);
        for (int i = 0; i < count; i += LANES) {
            FloatVector high = FloatVector.fromArray(F32, values, count + i);
            FloatVector low = FloatVector.fromArray(F32, values, 2 * count + i);
            FloatVector multiple =
                    high.add(low)
                            .mul(FloatPower.INVERSE_LN2)
                            .add(VectorSolverKernels.ROUND)
                            .sub(VectorSolverKernels.ROUND);
            multiple.intoArray(values, 3 * count + i);
            FloatVector upper = minusUpper.mul(multiple);
            FloatVector aHigh = high.add(upper);
            FloatVector aLow = sumLow(high, upper, aHigh).add(low);
            FloatVector lower = minusLower.mul(multiple);
            FloatVector bHigh = aHigh.add(lower);
            FloatVector bLow = sumLow(aHigh, lower, bHigh).add(aLow);
            FloatVector xHigh = bHigh.add(bLow);
            xHigh.intoArray(values, count + i);
            bHigh.sub(xHigh).add(bLow).intoArray(values, 2 * count + i);
        }
    }

    /// Section 0 becomes 2^n * (1 + (x + x^2 * series)), x in sections 1 and 2.
    private static void exponential(float[] values, int count) {
        FloatVector one = constant(1f);
        for (int i = 0; i < count; i += LANES) {
            FloatVector xHigh = FloatVector.fromArray(F32, values, count + i);
            FloatVector xLow = FloatVector.fromArray(F32, values, 2 * count + i);
            FloatVector series =
                    xHigh.fma(constant(FloatPower.EXP_5), constant(FloatPower.EXP_4))
                            .fma(xHigh, constant(FloatPower.EXP_3))
                            .fma(xHigh, constant(FloatPower.EXP_2))
                            .fma(xHigh, constant(FloatPower.EXP_1));
            FloatVector sHigh = xHigh.mul(xHigh);
            FloatVector sLow = xHigh.add(xHigh).fma(xLow, xHigh.fma(xHigh, sHigh.neg()));
            FloatVector pHigh = sHigh.mul(series);
            FloatVector pLow = sLow.fma(series, sHigh.fma(series, pHigh.neg()));
            FloatVector restHigh = xHigh.add(pHigh);
            FloatVector restLow = smallerLow(xHigh, xLow, pHigh, pLow, restHigh);
            FloatVector sumHigh = one.add(restHigh);
            FloatVector sumLow = one.sub(sumHigh).add(restHigh).add(restLow);
            FloatVector multiple = FloatVector.fromArray(F32, values, 3 * count + i);
            IntVector n = (IntVector) multiple.convertShape(VectorOperators.F2I, I32, 0);
            timesPowerOfTwo(sumHigh.add(sumLow), n).intoArray(values, i);
        }
    }

    /// What a + b lost when it was rounded to `high`, for any sizes.
    private static FloatVector sumLow(FloatVector a, FloatVector b, FloatVector high) {
        FloatVector fromB = high.sub(a);
        return a.sub(high.sub(fromB)).add(b.sub(fromB));
    }

    /// The low part of a + b for a smaller b.
    private static FloatVector smallerLow(
            FloatVector aHigh, FloatVector aLow, FloatVector bHigh, FloatVector bLow, FloatVector high) {
        return aHigh.sub(high).add(bHigh).add(aLow).add(bLow);
    }

    /// The low part of a * b.
    private static FloatVector productLow(
            FloatVector aHigh, FloatVector aLow, FloatVector bHigh, FloatVector bLow, FloatVector high) {
        return aHigh.fma(bLow, aLow.fma(bHigh, aHigh.fma(bHigh, high.neg())));
    }

    /// The exponent for a mantissa in [0.75, 1.5).
    private static IntVector exponent(FloatVector x) {
        return x.mul(1f / 0.75f).reinterpretAsInts().lanewise(VectorOperators.LSHR, MANTISSA_BITS).sub(BIAS);
    }

    private static FloatVector timesPowerOfTwo(FloatVector value, IntVector exponent) {
        return value.reinterpretAsInts()
                .add(exponent.lanewise(VectorOperators.LSHL, MANTISSA_BITS))
                .reinterpretAsFloats();
    }

    private static FloatVector constant(float value) {
        return FloatVector.broadcast(F32, value);
    }
}
