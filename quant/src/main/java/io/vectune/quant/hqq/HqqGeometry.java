package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;

/// Where the codes and the groups of a weight (outFeatures, inFeatures) lie.
///
/// The weight's elements in row-major order, flat index `f = o * inFeatures + i`, are seen as a matrix (R, C) of groups:
///
///     axis 1    (elements / groupSize, groupSize)     the group of f is  f / groupSize
///     axis 0    (groupSize, elements / groupSize)     the group of f is  f % groups
///
/// Groups may straddle rows of the weight. Packing splits the R rows (see [HqqPacking]).
///
/// @param outFeatures rows of the weight
/// @param inFeatures columns of the weight
/// @param groupSize weights that share one scale and zero point; divides the number of elements
/// @param axis 1: a group is contiguous in memory; 0: it runs down a column of the matrix
/// @param packing how codes are packed
public record HqqGeometry(int outFeatures, int inFeatures, int groupSize, int axis, HqqPacking packing) {
    public HqqGeometry {
        String shape = "weight (" + outFeatures + ", " + inFeatures + ")";
        if (outFeatures < 1 || inFeatures < 1) {
            throw new VectuneException(shape + ": expected at least one row and one column");
        }
        if (axis != 0 && axis != 1) {
            throw new VectuneException("axis: expected 0 or 1, found " + axis);
        }
        long elements = (long) outFeatures * inFeatures;
        if (groupSize < 1 || elements % groupSize != 0) {
            throw new VectuneException(
                    shape
                            + ": expected a group size that divides its "
                            + elements
                            + " elements, found "
                            + groupSize
                            + "; choose another, or none for one group a channel");
        }
        long rows = axis == 1 ? elements / groupSize : groupSize;
        if (!packing.padsRows() && rows % packing.slots() != 0) {
            throw new VectuneException(
                    shape
                            + ": "
                            + packing.key()
                            + " packs "
                            + packing.slots()
                            + " rows of groups together, but group size "
                            + groupSize
                            + " on axis "
                            + axis
                            + " gives "
                            + rows
                            + "; choose a group size that makes the rows a multiple of "
                            + packing.slots());
        }
        if (elements / groupSize > Integer.MAX_VALUE - 64) {
            throw new VectuneException(shape + ": group size " + groupSize + " gives too many groups");
        }
    }

    /// Number of weights.
    public long elements() {
        return (long) outFeatures * inFeatures;
    }

    /// Number of groups.
    public int groups() {
        return (int) (elements() / groupSize);
    }

    /// R: rows of the matrix of groups, without padding.
    public long matrixRows() {
        return axis == 1 ? groups() : groupSize;
    }

    /// C: columns of the matrix of groups.
    public long matrixColumns() {
        return axis == 1 ? groupSize : groups();
    }

    /// Rows of words: R / slots, rounded up where the packing pads.
    public long packedRows() {
        return (matrixRows() + packing.slots() - 1) / packing.slots();
    }

    /// P: number of words; also the number of elements in one slot.
    public long words() {
        return packedRows() * matrixColumns();
    }

    /// Bytes of all words.
    public long packedBytes() {
        return words() * packing.wordBytes();
    }

    /// The group of the element with that row-major index.
    public int groupOf(long flat) {
        return axis == 1 ? (int) (flat / groupSize) : (int) (flat % groups());
    }

    /// The shape of scale and zero in files: (groups, 1) for axis 1, (1, groups) for axis 0.
    public long[] parameterShape() {
        return axis == 1 ? new long[] {groups(), 1} : new long[] {1, groups()};
    }

    /// The shape of the packed words in files.
    public long[] packedShape() {
        return new long[] {packedRows(), matrixColumns()};
    }
}
