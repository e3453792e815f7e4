package io.vectune.quant.bnb;

import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.CacheLines;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.WeightNorms;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Optional;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/// A weight in NF4 or FP4.
///
///     W[o, i] = codebook[code[f]] * absmax[f / blockSize]      f = o * inFeatures + i
///
/// Layout    byte j of packed holds code 2 j (high nibble) and 2 j + 1 (low nibble); blocks run over the flattened
///           matrix and may straddle rows
/// Numerics  decoding rounds once (f32 product); the fused product takes the absmax out of the sum of each run
/// Source    bitsandbytes/functional.py dequantize_4bit
public final class FourBitWeight implements QuantizedWeight {
    private static final FourBitKernels KERNELS =
            KernelTier.active() == KernelTier.VECTOR ? new FourBitVector() : new FourBitScalar();

    private static final int FEW_TOKENS = 6;

    /// Up to so many inputs a weight is decoded even for one token: kernels of whole lines add in another order than
    /// those of a part of one, and a weight of 64 inputs must give the same bits when it is widened to 128.
    private static final int NARROW = 128;

    private final FourBitConfig config;
    private final DType dtype;
    private final int outFeatures;
    private final int inFeatures;
    private final MemorySegment packed;
    private final BlockAbsmax absmax;
    private final Codebook codebook;
    private final WeightNorms norms = new WeightNorms(this);
    private final boolean inWords;
    private @Nullable CodebookRows codebookRows;

    /// @param dtype type of the weight when it was quantized: F32, F16 or BF16; what [#computeDtype] tells, decoding is
    ///   f32
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
        this.inWords =
                KernelTier.active() == KernelTier.VECTOR && CodebookRows.supports(inFeatures, config.blockSize());
    }

    /// How it is quantized.
    public FourBitConfig config() {
        return config;
    }

    @Override
    public WeightQuantizer quantizer() {
        return new FourBitWeightQuantizer(config, Optional.of(dtype));
    }

    /// Type of the weight when it was quantized: the library dequantizes to it.
    @Override
    public DType computeDtype() {
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

    /// Block sizes are powers of two: element >> blockShift is the block.
    int blockShift() {
        return Integer.numberOfTrailingZeros(config.blockSize());
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
    public void readAhead(int rowFrom, int rowTo) {
        CacheLines.read(packed, (long) rowFrom * inFeatures / 2, (long) (rowTo - rowFrom) * inFeatures / 2);
    }

    @Override
    public int fewTokens() {
        if (inFeatures <= NARROW) {
            return 0;
        }
        return inWords ? FEW_TOKENS : KERNELS.fewTokens(inFeatures);
    }

    @Override
    public int preparedLength(int tokens) {
        return Math.multiplyExact(tokens, inWords ? CodebookRows.preparedLength(inFeatures) : inFeatures);
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        for (int token = 0; token < x.rows(); token++) {
            if (inWords) {
                int at = token * CodebookRows.preparedLength(inFeatures);
                CodebookRows.prepare(x.segment(), x.rowOffset(token), inFeatures, prepared, at);
            } else {
                KERNELS.prepare(x.segment(), x.rowOffset(token), inFeatures, prepared, token * inFeatures);
            }
        }
    }

    @Override
    public int units() {
        return outFeatures;
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        if (inWords) {
            codebookRows().multiply(prepared, tokens, y, unitFrom, unitTo);
            return;
        }
        for (int token = 0; token < tokens; token++) {
            long to = y.rowOffset(token) + 4L * unitFrom;
            KERNELS.multiply(this, unitFrom, unitTo, prepared, token * inFeatures, y.segment(), to);
        }
    }

    /// The decoded absmax of the fused product, made when it is first needed.
    private synchronized CodebookRows codebookRows() {
        if (codebookRows == null) {
            codebookRows = new CodebookRows(this);
        }
        return codebookRows;
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
    public synchronized long fusedBytes() {
        return codebookRows == null ? 0 : codebookRows.byteSize();
    }

    @Override
    public String description() {
        return describe(config);
    }

    static String describe(FourBitConfig config) {
        return config.type().key()
                + ", block "
                + config.blockSize()
                + (config.doubleQuant() ? ", double quantization" : "");
    }

    @Override
    public SequencedMap<String, Tensor> tensors(String layer, Arena arena) {
        String name = layer + ".weight";
        TensorSpec spec = FourBitWeightQuantizer.packedSpec(config, (long) outFeatures * inFeatures);
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(name, Tensor.of(spec.dtype(), spec.sizes(), packed));
        DType absmaxType = absmax.isNested() ? DType.U8 : DType.F32;
        tensors.put(name + ".absmax", Tensor.of(absmaxType, new long[] {absmax.count()}, absmax.segment()));
        tensors.put(name + ".quant_map", floats(arena, config.type().codebook()));
        if (absmax.isNested()) {
            tensors.put(name + ".nested_absmax", floats(arena, absmax.nestedAbsmax()));
            tensors.put(name + ".nested_quant_map", floats(arena, absmax.nestedMap()));
        }
        byte[] state = QuantState.of(this).encode();
        Tensor bytes = Tensor.allocate(arena, DType.U8, state.length);
        MemorySegment.copy(state, 0, bytes.segment(), Tensor.BYTE, 0, state.length);
        tensors.put(FourBitWeightQuantizer.stateKey(name, config.type()), bytes);
        return tensors;
    }

    private static Tensor floats(Arena arena, float[] values) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, values.length);
        MemorySegment.copy(values, 0, tensor.segment(), Tensor.FLOAT, 0, values.length);
        return tensor;
    }

    @Override
    public FourBitWeight widened(int newInFeatures, Arena arena) {
        return FourBitExpansion.widen(this, newInFeatures, arena);
    }

    @Override
    public FourBitWeight scaled(float factor, Arena arena) {
        return FourBitExpansion.scale(this, factor, arena);
    }
}
