package io.vectune.quant.hqq;

import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.quant.lanes.FusedRows;
import io.vectune.quant.lanes.GroupedByteRows;
import io.vectune.quant.lanes.PairedRows;
import io.vectune.quant.lanes.ReadAhead;
import io.vectune.runtime.compute.CacheLines;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.WeightNorms;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.Optional;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/// A weight quantized by HQQ: packed integer codes, and a scale and a float zero point for each group.
///
///     W = (code - zeroPoint) * scale         both operations rounded to the compute type
///
/// [#decode] gives the bits of hqq's `dequantize()`. Immutable; the arena that holds its memory must outlive it.
public final class HqqWeight implements QuantizedWeight {
    private static final boolean VECTOR = KernelTier.active() == KernelTier.VECTOR;

    private final HqqConfig config;
    private final HqqMeta scaleMeta;
    private final HqqMeta zeroMeta;
    private final HqqCodes codes;
    private final WeightNorms norms = new WeightNorms(this);
    private final @Nullable FusedRows fused;

    /// @param packed exactly the words that `geometry` asks for
    HqqWeight(HqqConfig config, HqqGeometry geometry, MemorySegment packed, HqqMeta scaleMeta, HqqMeta zeroMeta) {
        if (packed.byteSize() != geometry.packedBytes()) {
            throw new IllegalArgumentException(
                    "packed: expected " + geometry.packedBytes() + " bytes, found " + packed.byteSize());
        }
        this.config = config;
        this.scaleMeta = scaleMeta;
        this.zeroMeta = zeroMeta;
        this.codes =
                new HqqCodes(
                        geometry,
                        geometry.words(),
                        geometry.groups(),
                        packed,
                        scaleMeta.decoded(),
                        zeroMeta.decoded(),
                        config.computeDtype());
        this.fused = VECTOR ? fusedRows() : null;
    }

    /// The fused product of weights that decode without rounding, with groups along the rows, if there is one for this
    /// machine: bytes from where they are stored, narrower codes from a layout of their own, of nibbles or, in groups
    /// of less than 32, of bytes.
    private @Nullable FusedRows fusedRows() {
        HqqGeometry geometry = geometry();
        int inFeatures = geometry.inFeatures();
        int groupSize = geometry.groupSize();
        if (geometry.axis() != 1 || config.computeDtype() != DType.F32 || inFeatures % groupSize != 0) {
            return null;
        }
        boolean bytes = geometry.packing() == HqqPacking.U8_8;
        int center = (bits().maxCode() + 1) / 2;
        if (!bytes && PairedRows.supports(inFeatures, groupSize)) {
            return new PairedRows(outFeatures(), inFeatures, groupSize, center, true, this::readRow);
        }
        if (!GroupedByteRows.supports(inFeatures, groupSize)) {
            return null;
        }
        MemorySegment stored = bytes ? packed() : null;
        return new GroupedByteRows(outFeatures(), inFeatures, groupSize, center, true, stored, this::readRow);
    }

    /// The code width.
    public HqqBits bits() {
        return config.bits();
    }

    /// How it was quantized, as far as it is known.
    public HqqConfig config() {
        return config;
    }

    @Override
    public WeightQuantizer quantizer() {
        return new HqqWeightQuantizer(config, Optional.of(config.computeDtype()), false);
    }

    /// Where codes and groups lie.
    public HqqGeometry geometry() {
        return codes.geometry();
    }

    /// The type whose rounding dequantization applies: F32, F16 or BF16.
    @Override
    public DType computeDtype() {
        return codes.computeDtype();
    }

    /// The packed words.
    public MemorySegment packed() {
        return codes.packed();
    }

    /// The packed words as the tensor that files hold: words, or floats of the compute type that show the same bytes.
    public Tensor packedTensor() {
        TensorSpec spec = HqqStateDict.packedSpec(geometry(), config);
        return Tensor.of(spec.dtype(), spec.sizes(), packed());
    }

    /// The scales as they are stored.
    public HqqMeta scaleMeta() {
        return scaleMeta;
    }

    /// The zero points as they are stored.
    public HqqMeta zeroMeta() {
        return zeroMeta;
    }

    /// The code of one weight.
    public int code(int row, int column) {
        return codes.code((long) row * inFeatures() + column);
    }

    /// The scale of a group.
    public float scale(int group) {
        return codes.scale(group);
    }

    /// The zero point of a group.
    public float zeroPoint(int group) {
        return codes.zeroPoint(group);
    }

    HqqCodes codes() {
        return codes;
    }

    @Override
    public int outFeatures() {
        return codes.geometry().outFeatures();
    }

    @Override
    public int inFeatures() {
        return codes.geometry().inFeatures();
    }

    @Override
    public void decode(
            int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride) {
        for (int row = rowFrom; row < rowTo; row++) {
            HqqKernels.ACTIVE.decode(
                    codes,
                    (long) row * inFeatures() + columnFrom,
                    columnTo - columnFrom,
                    tile,
                    tileOffset + (row - rowFrom) * tileStride);
        }
    }

    /// A run of rows is a run of words, unless it crosses from one slot of the words to the next.
    @Override
    public void readAhead(int rowFrom, int rowTo) {
        long wordBytes = geometry().packing().wordBytes();
        long from = (long) rowFrom * inFeatures() % codes.words();
        long count = Math.min((long) (rowTo - rowFrom) * inFeatures(), codes.words() - from);
        CacheLines.read(codes.packed(), wordBytes * from, wordBytes * count);
    }

    @Override
    public int fewTokens() {
        return fused == null ? HqqProducts.ACTIVE.fewTokens(codes) : fused.fewTokens();
    }

    @Override
    public int preparedLength(int tokens) {
        if (fused != null) {
            return Math.multiplyExact(tokens, fused.preparedLength());
        }
        int arranged = HqqProducts.inBlocks(geometry()) ? inFeatures() : 0;
        return Math.multiplyExact(tokens, inFeatures() + groupsOfRow() + arranged);
    }

    /// What [FusedRows] reads, or else the inputs of each token, the sums of each token's inputs over the groups of a
    /// row, and the inputs once more in the order of the packed bytes.
    @Override
    public void prepare(Matrix x, float[] prepared) {
        int inFeatures = inFeatures();
        int tokens = x.rows();
        int groupSize = geometry().groupSize();
        for (int token = 0; token < tokens; token++) {
            if (fused != null) {
                fused.prepare(x.segment(), x.rowOffset(token), prepared, token * fused.preparedLength());
                continue;
            }
            int from = token * inFeatures;
            MemorySegment.copy(x.segment(), Tensor.FLOAT, x.rowOffset(token), prepared, from, inFeatures);
            int to = tokens * inFeatures + token * groupsOfRow();
            for (int group = 0; group < groupsOfRow(); group++) {
                float sum = 0;
                for (int i = 0; i < groupSize; i++) {
                    sum += prepared[from + group * groupSize + i];
                }
                prepared[to + group] = sum;
            }
            if (HqqProducts.inBlocks(geometry())) {
                int blocks = tokens * (inFeatures + groupsOfRow()) + from;
                HqqProducts.arrange(prepared, from, inFeatures, blocks);
            }
        }
    }

    /// Groups of one row of W on axis 1; 0 where groups straddle rows, and on axis 0.
    private int groupsOfRow() {
        HqqGeometry geometry = geometry();
        boolean whole = geometry.axis() == 1 && geometry.inFeatures() % geometry.groupSize() == 0;
        return whole ? geometry.inFeatures() / geometry.groupSize() : 0;
    }

    @Override
    public int units() {
        return fused == null ? HqqProducts.units(codes) : fused.pairs();
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        if (fused != null) {
            fused.multiply(prepared, tokens, y, unitFrom, unitTo);
            return;
        }
        // A unit of these is one row of bytes, whatever the number of weight rows in it.
        boolean bytes = VECTOR && HqqProducts.inBlocks(geometry());
        long row = inFeatures();
        int block = (int) Math.max(1, ReadAhead.BYTES / row);
        boolean ahead = bytes;
        for (int first = unitFrom; first < unitTo; first += block) {
            int end = Math.min(first + block, unitTo);
            if (bytes && (first - unitFrom) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(packed(), first * row, (end - first) * row);
            } else if (ahead) {
                ReadAhead.read(packed(), first * row, (end - first) * row);
            }
            for (int unit = first; unit < end; unit++) {
                HqqProducts.ACTIVE.multiply(codes, unit, prepared, tokens * inFeatures(), tokens, y);
            }
        }
    }

    @Override
    public long fusedBytes() {
        return fused == null ? 0 : fused.bytes();
    }

    private void readRow(int row, byte[] rowCodes, float[] factor, float[] offset) {
        long flat = (long) row * inFeatures();
        HqqPacking packing = geometry().packing();
        for (int done = 0; done < rowCodes.length; ) {
            int slot = (int) ((flat + done) / codes.words());
            long word = flat + done - slot * codes.words();
            int run = (int) Math.min(rowCodes.length - done, codes.words() - word);
            for (int i = 0; i < run; i++) {
                rowCodes[done + i] = (byte) (codes.word(word + i) >>> packing.shift(slot) & packing.mask());
            }
            done += run;
        }
        int columns = inFeatures() / factor.length;
        for (int i = 0; i < factor.length; i++) {
            int group = (int) ((flat + (long) i * columns) / geometry().groupSize());
            factor[i] = codes.scale(group);
            offset[i] = -codes.zeroPoint(group) * codes.scale(group);
        }
    }

    @Override
    public SequencedMap<String, Tensor> tensors(String layer, Arena arena) {
        return HqqStateDict.encode(this, layer, arena);
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return packed().byteSize() + scaleMeta.storageBytes() + zeroMeta.storageBytes();
    }

    @Override
    public String description() {
        HqqGeometry geometry = geometry();
        return "hqq %s-bit, group %d, axis %d, %s"
                .formatted(
                        bits().text(),
                        geometry.groupSize(),
                        geometry.axis(),
                        computeDtype().name().toLowerCase(Locale.ROOT));
    }

    @Override
    public HqqWeight widened(int newInFeatures, Arena arena) {
        return HqqExpansion.widen(this, newInFeatures, arena);
    }

    @Override
    public HqqWeight scaled(float factor, Arena arena) {
        return HqqExpansion.scale(this, factor, arena);
    }
}
