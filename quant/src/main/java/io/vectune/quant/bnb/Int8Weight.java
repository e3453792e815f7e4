package io.vectune.quant.bnb;

import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.CacheLines;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.WeightNorms;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// A weight in the row-wise int8 format of LLM.int8().
///
///     W[o, i] = (code[o, i] * absmax[o]) * (1 / 127)
///
/// Layout    codes (outFeatures, inFeatures) i8, absmax (outFeatures) f32: the keys `weight` and `SCB` of files
/// Numerics  decoding rounds twice, as the library does; the fused product sums codes times x and scales the sum. The
///           input is not quantized: see [Int8Product] for the product that does
/// Source    bitsandbytes/_ops.py int8_vectorwise_dequant
public final class Int8Weight implements QuantizedWeight {
    /// 1 / 127 in f32.
    static final float STEP = 1f / 127;

    static final Int8Kernels KERNELS = KernelTier.active() == KernelTier.VECTOR ? new Int8Vector() : new Int8Scalar();
    private static final int FEW_TOKENS = 6;

    private final DType dtype;
    private final int outFeatures;
    private final int inFeatures;
    private final MemorySegment codes;
    private final MemorySegment absmax;
    private final WeightNorms norms = new WeightNorms(this);

    /// @param dtype what [#computeDtype] tells
    /// @param codes i8, outFeatures * inFeatures
    /// @param absmax f32, outFeatures
    /// @throws IllegalArgumentException if sizes do not fit each other
    public Int8Weight(DType dtype, int outFeatures, int inFeatures, MemorySegment codes, MemorySegment absmax) {
        if (codes.byteSize() != (long) outFeatures * inFeatures || absmax.byteSize() != 4L * outFeatures) {
            throw new IllegalArgumentException(
                    "int8 weight ("
                            + outFeatures
                            + ", "
                            + inFeatures
                            + "): expected "
                            + (long) outFeatures * inFeatures
                            + " codes and "
                            + outFeatures
                            + " row maxima, found "
                            + codes.byteSize()
                            + " and "
                            + absmax.byteSize() / 4.0);
        }
        this.dtype = dtype;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.codes = codes;
        this.absmax = absmax;
    }

    /// The codes, i8.
    public MemorySegment codes() {
        return codes;
    }

    /// The largest magnitude of each row, f32.
    public MemorySegment absmax() {
        return absmax;
    }

    /// The largest magnitude of a row.
    float absmax(int row) {
        return absmax.get(Tensor.FLOAT, 4L * row);
    }

    @Override
    public int outFeatures() {
        return outFeatures;
    }

    @Override
    public int inFeatures() {
        return inFeatures;
    }

    @Override
    public void decode(
            int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride) {
        for (int row = rowFrom; row < rowTo; row++) {
            long at = (long) row * inFeatures + columnFrom;
            int to = tileOffset + (row - rowFrom) * tileStride;
            KERNELS.decode(codes, at, columnTo - columnFrom, absmax(row), tile, to);
        }
    }

    @Override
    public void readAhead(int rowFrom, int rowTo) {
        CacheLines.read(codes, (long) rowFrom * inFeatures, (long) (rowTo - rowFrom) * inFeatures);
    }

    @Override
    public int fewTokens() {
        return FEW_TOKENS;
    }

    @Override
    public int preparedLength(int tokens) {
        return Math.multiplyExact(tokens, inFeatures);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        for (int token = 0; token < x.rows(); token++) {
            KERNELS.prepare(x.segment(), x.rowOffset(token), inFeatures, prepared, token * inFeatures);
        }
    }

    @Override
    public int units() {
        return outFeatures;
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        KERNELS.multiply(this, unitFrom, unitTo, prepared, tokens, y);
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return codes.byteSize() + absmax.byteSize();
    }

    @Override
    public String description() {
        return "int8, one absmax a row";
    }

    @Override
    public WeightQuantizer quantizer() {
        return new Int8WeightQuantizer();
    }

    @Override
    public DType computeDtype() {
        return dtype;
    }

    @Override
    public SequencedMap<String, Tensor> tensors(String layer, Arena arena) {
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(layer + ".weight", Tensor.of(DType.I8, new long[] {outFeatures, inFeatures}, codes));
        tensors.put(layer + ".SCB", Tensor.of(DType.F32, new long[] {outFeatures}, absmax));
        tensors.put(layer + ".weight_format", Tensor.allocate(arena, DType.U8));
        return tensors;
    }

    @Override
    public Int8Weight widened(int newInFeatures, Arena arena) {
        if (newInFeatures < inFeatures) {
            throw new VectuneException(
                    "widening: expected at least " + inFeatures + " input features, found " + newInFeatures);
        }
        MemorySegment wide = arena.allocate((long) outFeatures * newInFeatures, Tensor.ALIGNMENT_BYTES);
        for (int row = 0; row < outFeatures; row++) {
            MemorySegment.copy(codes, (long) row * inFeatures, wide, (long) row * newInFeatures, inFeatures);
        }
        return new Int8Weight(dtype, outFeatures, newInFeatures, wide, absmax);
    }

    @Override
    public Int8Weight scaled(float factor, Arena arena) {
        MemorySegment scaledMaxima = arena.allocate(4L * outFeatures, Tensor.ALIGNMENT_BYTES);
        for (int row = 0; row < outFeatures; row++) {
            scaledMaxima.set(Tensor.FLOAT, 4L * row, absmax(row) * factor);
        }
        return new Int8Weight(dtype, outFeatures, inFeatures, codes, scaledMaxima);
    }
}
