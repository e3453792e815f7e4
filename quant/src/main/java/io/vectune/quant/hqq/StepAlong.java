package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;

/// The pass over groups that are contiguous in memory.
///
/// A chunk is as many whole groups as are whole units of the sum of errors, so that neither leaves the cache. Levels
/// are repeated for each weight. Groups of whole rows have a better way (see [SettlingSolver]).
final class StepAlong implements SolverStep {
    /// Weights that a chunk has at least.
    private static final int LEAST_CHUNK = 4096;

    private final Compute compute;
    private final SolverElements elements;
    private final int groupSize;
    private final int unitLength;
    private final int chunk;

    StepAlong(Compute compute, SolverElements elements, int groupSize) {
        this.compute = compute;
        this.elements = elements;
        this.groupSize = groupSize;
        this.unitLength = elements.unitLength();
        this.chunk = chunk(elements.count(), unitLength, groupSize);
    }

    private static int chunk(long count, int unitLength, int groupSize) {
        long common = (long) unitLength / greatestCommonDivisor(unitLength, groupSize) * groupSize;
        return Math.toIntExact(Math.min(count, Math.ceilDiv(LEAST_CHUNK, common) * common));
    }

    private static int greatestCommonDivisor(int a, int b) {
        return b == 0 ? a : greatestCommonDivisor(b, a % b);
    }

    @Override
    public void run(float inverseBeta) {
        int chunks = Math.toIntExact(Math.ceilDiv(elements.count(), chunk));
        compute.team()
                .run(
                        chunks,
                        1,
                        (from, to, worker) -> {
                            Pass pass = new Pass(worker, inverseBeta);
                            for (int index = from; index < to; index++) {
                                long start = (long) index * chunk;
                                pass.step(start, (int) Math.min(chunk, elements.count() - start));
                            }
                        });
    }

    /// What one thread does.
    private final class Pass {
        private final float inverseBeta;
        private final float[] targets;
        private final float[] errors;
        private final float[] powers;
        private final GroupLevels own;
        private final CascadeSum groupSum = new CascadeSum(groupSize);

        private Pass(int worker, float inverseBeta) {
            this.inverseBeta = inverseBeta;
            this.targets = compute.scratch(worker, 0, chunk);
            this.errors = compute.scratch(worker, 1, unitLength);
            this.powers = compute.scratch(worker, 2, SolverKernels.POWER_SCRATCH * unitLength);
            this.own =
                    new GroupLevels(
                            compute.scratch(worker, 3, unitLength),
                            compute.scratch(worker, 4, unitLength),
                            elements.levels().maxCode());
        }

        /// One chunk.
        private void step(long start, int count) {
            for (int at = 0; at < count; at += unitLength) {
                int unit = (int) ((start + at) / unitLength);
                stepWeights(start + at, Math.min(unitLength, count - at), at);
                elements.setErrors(unit, errors);
            }
            float[] zero = elements.levels().zero();
            int group = (int) (start / groupSize);
            int groups = count / groupSize;
            for (int i = 0; i < groups; i++) {
                zero[group + i] = groupSum.sum(targets, i * groupSize) / groupSize;
            }
        }

        private void stepWeights(long start, int length, int targetsFrom) {
            int group = (int) (start / groupSize);
            int within = (int) (start - (long) group * groupSize);
            for (int i = 0; i < length; group++) {
                int end = (int) Math.min(length, (long) i + groupSize - within);
                own.fill(elements.levels(), group, i, end);
                i = end;
                within = 0;
            }
            elements.step(start, length, own, 0, inverseBeta, targets, targetsFrom, errors, powers);
        }
    }
}
