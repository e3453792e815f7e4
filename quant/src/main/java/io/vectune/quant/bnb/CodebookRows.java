package io.vectune.quant.bnb;

import io.vectune.quant.lanes.Lanes;
import io.vectune.quant.lanes.ReadAhead;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/// The matrix-vector product of 4-bit weights from the codes as they are stored, with the codebook in one register.
///
/// A cache line is 16 words of 8 columns. Code n of a word (column 8 lane + n) lies at bit 4 (n ^ 1); one shift and one
/// permutation of the codebook give 16 values, for which x is brought into their order beforehand:
///
///     prepared x of a line at column c, for s = 0..7 and each lane: x[c + 8 lane + (s ^ 1)]
///
/// Lanes 0 to 7 are 64 columns, lanes 8 to 15 the next 64: each half meets the absmax of its block once a line. A last
/// half line is read together with the half before it, whose x are zero then.
///
/// Numerics  f32; the absmax multiplies the sum of a lane's 8 columns
/// Memory    one f32 for 64 weights, the decoded absmax; off-heap, freed with this object
/// Requires  512-bit vectors, inFeatures a multiple of 64 and at least 128, blocks of a multiple of 64
final class CodebookRows {
    private static final int HALF = 64;
    private static final int LINE = 2 * HALF;
    private static final int LANES = 16;
    private static final int PADDING = LANES;
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final VectorShuffle<Float> HALVES =
            VectorShuffle.fromOp(Lanes.F32, lane -> lane / Math.max(1, Lanes.COUNT / 2));

    private final int inFeatures;
    private final MemorySegment packed;
    private final float[] codebook = new float[LANES];
    private final MemorySegment absmax;

    CodebookRows(FourBitWeight weight) {
        this.inFeatures = weight.inFeatures();
        this.packed = weight.packed();
        for (int code = 0; code < codebook.length; code++) {
            codebook[code] = weight.codebook().value(code);
        }
        long halves = (long) weight.outFeatures() * inFeatures / HALF;
        Arena arena = Arena.ofAuto();
        this.absmax = arena.allocate(4 * (halves + PADDING), Tensor.ALIGNMENT_BYTES);
        int blockHalves = weight.config().blockSize() / HALF;
        for (long half = 0; half < halves; half++) {
            absmax.set(Tensor.FLOAT, 4 * half, weight.absmax().at(half / blockHalves));
        }
    }

    /// Whether this machine and these sizes suit the kernel.
    static boolean supports(int inFeatures, int blockSize) {
        return Lanes.COUNT == LANES && inFeatures >= LINE && inFeatures % HALF == 0 && blockSize % HALF == 0;
    }

    /// Bytes of the decoded absmax.
    long byteSize() {
        return absmax.byteSize();
    }

    /// Floats of one prepared token: whole lines.
    static int preparedLength(int inFeatures) {
        return (inFeatures + LINE - 1) / LINE * LINE;
    }

    /// Brings a row of x, f32 from byte `offset`, into the order of the codes.
    static void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int at) {
        for (int line = 0; line < inFeatures; line += LINE) {
            boolean whole = line + LINE <= inFeatures;
            int from = whole ? line : inFeatures - LINE;
            for (int s = 0; s < 8; s++) {
                for (int lane = 0; lane < LANES; lane++) {
                    int to = at + line + LANES * s + lane;
                    boolean used = whole || lane >= LANES / 2;
                    prepared[to] = used ? x.get(Tensor.FLOAT, offset + 4L * (from + 8 * lane + (s ^ 1))) : 0;
                }
            }
        }
    }

    /// Multiplies the rows `[from, to)` with `tokens` prepared rows of x.
    void multiply(float[] prepared, int tokens, Matrix y, int from, int to) {
        int stride = preparedLength(inFeatures);
        int block = Math.max(1, 2 * ReadAhead.BYTES / inFeatures);
        boolean ahead = true;
        for (int first = from; first < to; first += block) {
            int end = Math.min(first + block, to);
            long element = (long) first * inFeatures;
            long elements = (long) (end - first) * inFeatures;
            if ((first - from) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(packed, element / 2, elements / 2);
            } else if (ahead) {
                ReadAhead.read(packed, element / 2, elements / 2);
                ReadAhead.read(absmax, 4 * (element / HALF), 4 * (elements / HALF));
            }
            for (int row = first; row < end; row++) {
                for (int token = 0; token < tokens; token++) {
                    float sum =
                            row(
                                    codebook,
                                    packed,
                                    absmax,
                                    (long) row * inFeatures,
                                    inFeatures,
                                    prepared,
                                    token * stride);
                    y.segment().set(Tensor.FLOAT, y.rowOffset(token) + 4L * row, sum);
                }
            }
        }
    }

    private static float row(
            float[] codebook,
            MemorySegment packed,
            MemorySegment absmax,
            long element,
            int columns,
            float[] x,
            int xFrom) {
        IntVector table = FloatVector.fromArray(Lanes.F32, codebook, 0).reinterpretAsInts();
        FloatVector total = FloatVector.zero(Lanes.F32);
        for (int line = 0; line < columns; line += LINE) {
            long at = element + Math.min(line, columns - LINE);
            int from = xFrom + line;
            IntVector words = IntVector.fromMemorySegment(Lanes.I32, packed, at / 2, LITTLE);
            FloatVector scales = FloatVector.fromMemorySegment(Lanes.F32, absmax, at / HALF * 4, LITTLE);
            FloatVector even =
                    words.selectFrom(table).reinterpretAsFloats().mul(FloatVector.fromArray(Lanes.F32, x, from));
            FloatVector odd =
                    words.lanewise(VectorOperators.LSHR, 4)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .mul(FloatVector.fromArray(Lanes.F32, x, from + LANES));
            even =
                    words.lanewise(VectorOperators.LSHR, 8)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 2 * LANES), even);
            odd =
                    words.lanewise(VectorOperators.LSHR, 12)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 3 * LANES), odd);
            even =
                    words.lanewise(VectorOperators.LSHR, 16)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 4 * LANES), even);
            odd =
                    words.lanewise(VectorOperators.LSHR, 20)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 5 * LANES), odd);
            even =
                    words.lanewise(VectorOperators.LSHR, 24)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 6 * LANES), even);
            odd =
                    words.lanewise(VectorOperators.LSHR, 28)
                            .selectFrom(table)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(Lanes.F32, x, from + 7 * LANES), odd);
            total = even.add(odd).fma(scales.rearrange(HALVES), total);
        }
        return Lanes.sum(total);
    }
}
