package io.vectune.quant.gguf;

import io.vectune.quant.lanes.FusedRows;
import io.vectune.quant.lanes.GroupedByteRows;
import io.vectune.quant.lanes.PairedRows;
import io.vectune.quant.lanes.ReadAhead;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.compute.CacheLines;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import io.vectune.runtime.weight.WeightNorms;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// A weight in one of the GGUF block formats, decoded and multiplied from the stored bytes.
///
/// Shapes rows of inFeatures / blockElements blocks, without gaps Numerics decoding has the bits of the format's
/// definition; the product is f32 with one fixed-order sum a row Memory decoding copies nothing; the fused product
/// keeps the codes a second time, see [PairedRows], [GroupedByteRows] and [#fusedBytes]
public final class GgufBlockWeight implements Weight {
    private static final boolean VECTOR = KernelTier.active() == KernelTier.VECTOR;

    /// Tokens up to which the fused product was measured to beat decoding panels: formats with one scale a block, and
    /// those whose scales are packed themselves.
    private static final int FEW_TOKENS = 5;

    private static final int FEW_TOKENS_OF_LARGE_BLOCKS = 2;

    private final GgufType type;
    private final GgufBlockFormat format;
    private final MemorySegment segment;
    private final int outFeatures;
    private final int inFeatures;
    private final int rowBlocks;
    private final long rowBytes;
    private final WeightNorms norms = new WeightNorms(this);
    private final @Nullable FusedRows fused;

    /// @param segment the blocks of all rows
    /// @throws IllegalArgumentException if the type is no block format of this library, blocks straddle rows, or the
    ///   segment has another size
    public GgufBlockWeight(GgufType type, MemorySegment segment, int outFeatures, int inFeatures) {
        this.format = GgufBlockFormat.of(type);
        if (outFeatures < 0 || inFeatures < 0 || inFeatures % type.blockElements() != 0) {
            throw new IllegalArgumentException(
                    type
                            + " weight: expected inFeatures to be a multiple of "
                            + type.blockElements()
                            + ", found ("
                            + outFeatures
                            + ", "
                            + inFeatures
                            + ")");
        }
        this.type = type;
        this.segment = segment;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.rowBlocks = inFeatures / type.blockElements();
        this.rowBytes = (long) rowBlocks * type.blockBytes();
        if (segment.byteSize() != rowBytes * outFeatures) {
            throw new IllegalArgumentException(
                    type
                            + " weight ("
                            + outFeatures
                            + ", "
                            + inFeatures
                            + "): expected "
                            + rowBytes * outFeatures
                            + " bytes, found "
                            + segment.byteSize());
        }
        this.fused = VECTOR && outFeatures > 0 ? fusedRows() : null;
    }

    /// The layout of the fused product, if there is one for the type, the size and this machine.
    private @Nullable FusedRows fusedRows() {
        BlockRows rows = new BlockRows(type, format, segment);
        return switch (type) {
            case Q4_0, Q4_1, Q4_K ->
                    PairedRows.supports(inFeatures, format.groupElements())
                            ? new PairedRows(
                                    outFeatures,
                                    inFeatures,
                                    format.groupElements(),
                                    format.center(),
                                    format.hasMinimums(),
                                    rows)
                            : null;
            case Q5_0, Q5_1, Q5_K, Q6_K, Q8_0 ->
                    GroupedByteRows.supports(inFeatures, format.groupElements())
                            ? new GroupedByteRows(
                                    outFeatures,
                                    inFeatures,
                                    format.groupElements(),
                                    format.center(),
                                    format.hasMinimums(),
                                    null,
                                    rows)
                            : null;
            default -> null;
        };
    }

    static GgufBlockWeight of(GgufTensor tensor, MemorySegment segment, int outFeatures, int inFeatures) {
        try {
            return new GgufBlockWeight(tensor.type(), segment, outFeatures, inFeatures);
        } catch (IllegalArgumentException unfit) {
            throw new FileFormatException(tensor + ": " + unfit.getMessage(), unfit);
        }
    }

    /// The storage type.
    public GgufType type() {
        return type;
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
        int size = type.blockElements();
        int firstWhole = Math.min((columnFrom + size - 1) / size * size, columnTo);
        int lastWhole = Math.max(columnTo / size * size, firstWhole);
        for (int row = rowFrom; row < rowTo; row++) {
            int to = tileOffset + (row - rowFrom) * tileStride;
            decodeElements(row, columnFrom, firstWhole, tile, to);
            to += firstWhole - columnFrom;
            if (VECTOR) {
                format.decode(segment, blockOffset(row, firstWhole), (lastWhole - firstWhole) / size, tile, to);
            } else {
                decodeElements(row, firstWhole, lastWhole, tile, to);
            }
            decodeElements(row, lastWhole, columnTo, tile, to + lastWhole - firstWhole);
        }
    }

    @Override
    public int blockColumns() {
        return type.blockElements();
    }

    @Override
    public void readAhead(int rowFrom, int rowTo) {
        CacheLines.read(segment, rowFrom * rowBytes, (rowTo - rowFrom) * rowBytes);
    }

    private void decodeElements(int row, int columnFrom, int columnTo, float[] tile, int to) {
        for (int column = columnFrom; column < columnTo; column++) {
            tile[to + column - columnFrom] =
                    format.value(segment, blockOffset(row, column), column % type.blockElements());
        }
    }

    private long blockOffset(int row, int column) {
        return row * rowBytes + (long) (column / type.blockElements()) * type.blockBytes();
    }

    @Override
    public int fewTokens() {
        if (fused != null) {
            return fused.fewTokens();
        }
        return type.blockElements() == 32 ? FEW_TOKENS : FEW_TOKENS_OF_LARGE_BLOCKS;
    }

    @Override
    public int preparedLength(int tokens) {
        return Math.multiplyExact(tokens, fused == null ? inFeatures : fused.preparedLength());
    }

    @Override
    public void prepare(Matrix x, float[] prepared) {
        for (int token = 0; token < x.rows(); token++) {
            if (fused != null) {
                fused.prepare(x.segment(), x.rowOffset(token), prepared, token * fused.preparedLength());
            } else {
                MemorySegment.copy(
                        x.segment(), Tensor.FLOAT, x.rowOffset(token), prepared, token * inFeatures, inFeatures);
            }
        }
    }

    @Override
    public int units() {
        return fused == null ? outFeatures : fused.pairs();
    }

    @Override
    public void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo) {
        if (fused != null) {
            fused.multiply(prepared, tokens, y, unitFrom, unitTo);
            return;
        }
        if (!VECTOR) {
            for (int token = 0; token < tokens; token++) {
                for (int row = unitFrom; row < unitTo; row++) {
                    y.set(token, row, dot(row, prepared, token * inFeatures));
                }
            }
            return;
        }
        int block = (int) Math.max(1, ReadAhead.BYTES / Math.max(1, rowBytes));
        boolean ahead = true;
        for (int from = unitFrom; from < unitTo; from += block) {
            int rows = Math.min(block, unitTo - from);
            if ((from - unitFrom) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(segment, from * rowBytes, rows * rowBytes);
            } else if (ahead) {
                ReadAhead.read(segment, from * rowBytes, rows * rowBytes);
            }
            for (int token = 0; token < tokens; token++) {
                long to = y.rowOffset(token) + 4L * from;
                int x = token * inFeatures;
                format.multiply(segment, from * rowBytes, rowBytes, rows, rowBlocks, prepared, x, y.segment(), to);
            }
        }
    }

    private float dot(int row, float[] x, int xOffset) {
        float sum = 0;
        for (int column = 0; column < inFeatures; column++) {
            float value = format.value(segment, blockOffset(row, column), column % type.blockElements());
            sum = Math.fma(value, x[xOffset + column], sum);
        }
        return sum;
    }

    @Override
    public WeightNorms norms() {
        return norms;
    }

    @Override
    public long storageBytes() {
        return segment.byteSize();
    }

    @Override
    public long fusedBytes() {
        return fused == null ? 0 : fused.bytes();
    }

    @Override
    public String description() {
        return "gguf " + type.name().toLowerCase(Locale.ROOT);
    }
}
