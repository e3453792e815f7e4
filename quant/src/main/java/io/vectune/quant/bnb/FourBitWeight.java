package io.vectune.quant.bnb;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import io.vectune.runtime.weight.WeightNorms;
import java.lang.foreign.MemorySegment;

/// A weight in NF4 or FP4.
///
///     W[o, i] = codebook[code[f]] * absmax[f / blockSize]      f = o * inFeatures + i
///
/// Layout    byte j of packed holds code 2 j (high nibble) and 2 j + 1 (low nibble); blocks run over the flattened
///           matrix and may straddle rows
/// Numerics  decoding rounds once (f32 product); the fused product takes the absmax out of the sum of each run
/// Source    bitsandbytes/functional.py dequantize_4bit
public final class FourBitWeight implements Weight {
    private static final FourBitKernels KERNELS =
            KernelTier.active() == KernelTier.VECTOR ? new FourBitVector() : new FourBitScalar();

    private final FourBitConfig config;
    private final DType dtype;
    private final int outFeatures;
    private final int inFeatures;
    private final MemorySegment packed;
    private final BlockAbsmax absmax;
    private final Codebook codebook;
    private final WeightNorms norms = new WeightNorms(this);

    /// @param dtype type of the weight when it was quantized: F32, F16 or BF16; what [#dtype] tells, decoding is f32
    /// @param packed two codes a byte, (outFeatures * inFeatures + 1) / 2 bytes, more where the storage type needs it
    /// @param absmax one a block
    /// @throws IllegalArgumentException if sizes do not fit each other
    public FourBitWeight(
            FourBitConfig config,
            DType dtype,
            int outFeatures,
            int inFeatures,
            MemorySegment packed,
            BlockAbsmax absmax) {
        long elements = (long) outFeatures * inFeatures;
        if (packed.byteSize() < (elements + 1) / 2) {
            throw new IllegalArgumentException(
                    "packed: expected "
                            + (elements + 1) / 2
                            + " bytes for ("
                            + outFeatures
                            + ", "
                            + inFeatures
                            + "), found "
                            + packed.byteSize());
        }
        long blocks = (elements + config.blockSize() - 1) / config.blockSize();
        if (absmax.count() != blocks) {
            throw new IllegalArgumentException(
                    "absmax: expected "
                            + blocks
                            + " values for ("
                            + outFeatures
                            + ", "
                            + inFeatures
                            + ") in blocks of "
                            + config.blockSize()
                            + ", found "
                            + absmax.count());
        }
        if (config.doubleQuant() != absmax.isNested()) {
            throw new IllegalArgumentException(
                    "absmax: expected "
                            + (config.doubleQuant() ? "nested" : "plain")
                            + " values, as the configuration says");
        }
        this.config = config;
        this.dtype = dtype;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.packed = packed;
        this.absmax = absmax;
        this.codebook = Codebook.of(config.type());
    }

    /// How it is quantized.
    public FourBitConfig config() {
        return config;
    }

    /// Type of the weight when it was quantized.
    public DType dtype() {
        return dtype;
    }

    /// The codes, two a byte.
    public MemorySegment packed() {
        return packed;
    }

    /// The absmax of each block.
    public BlockAbsmax absmax() {
        return absmax;
    }

    Codebook codebook() {
        return codebook;
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
            long element = (long) row * inFeatures + columnFrom;
            KERNELS.decode(this, element, columnTo - columnFrom, tile, tileOffset + (row - rowFrom) * tileStride);
        }
    }

    @Override
    public int fewTokens() {
        return KERNELS.fewTokens(inFeatures);
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
        for (int token = 0; token < tokens; token++) {
            long to = y.rowOffset(token) + 4L * unitFrom;
            KERNELS.multiply(this, unitFrom, unitTo, prepared, token * inFeatures, y.segment(), to);
        }
    }

    /// One element; not for hot loops.
    float value(long element) {
        int pair = packed.get(Tensor.BYTE, element / 2);
        int code = element % 2 == 0 ? pair >>> 4 & 15 : pair & 15;
        return codebook.value(code) * absmax.at(element / config.blockSize());
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return packed.byteSize() + absmax.storageBytes();
    }

    @Override
    public String description() {
        return config.type().key()
                + ", block "
                + config.blockSize()
                + (config.doubleQuant() ? ", double quantization" : "");
    }
}
