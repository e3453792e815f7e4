package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.SPECIES;

import jdk.incubator.vector.FloatVector;

/// Products of small matrices in `float[]` scratch that stay in the L1 and L2 caches: the tiles of [AttentionVector].
///
///     c (rows, columns) (+)= a (rows, depth) b (depth, columns)
///
/// b and c are row-major, with columns in multiples of [Lanes#LENGTH]; a is row-major ([#multiply]) or column-major
/// ([#multiplyTransposed]). All have [#TILE] elements from one row, or column, to the next. Rows are computed in groups
/// of 8: the arrays have room for the rows up to the next multiple of 8, whose content does not matter. Each element is
/// summed over the depth in index order.
final class TileProduct {
    /// The most rows or columns of a tile, and the leading dimension of all operands: constant, so that C2 proves the
    /// bounds of the loads once before the loop. With a stride in a variable it checked each load of b, multiplied for
    /// its index and kept addresses in vector registers: 69 % of the multiply-add peak where this gives 83 %.
    static final int TILE = 64;

    /// 8 * 2 sums + 2 vectors of b + 1 of a = 19 <= 32 vector registers.
    private static final int ROWS = 8;

    private TileProduct() {}

    /// c (+)= a b, element (row, k) of a at `aAt + TILE * row + k`.
    static void multiply(
            float[] a,
            int aAt,
            float[] b,
            int bAt,
            float[] c,
            int cAt,
            int rows,
            int columns,
            int depth,
            boolean accumulate) {
        for (int row = 0; row < rows; row += ROWS) {
            int column = 0;
            for (; column <= columns - 2 * Lanes.LENGTH; column += 2 * Lanes.LENGTH) {
                rowMajor2(a, aAt + row * TILE, b, bAt + column, c, cAt + row * TILE + column, depth, accumulate);
            }
            if (column < columns) {
                rowMajor1(a, aAt + row * TILE, b, bAt + column, c, cAt + row * TILE + column, depth, accumulate);
            }
        }
    }

    /// c (+)= a b, element (row, k) of a at `aAt + row + TILE * k`.
    static void multiplyTransposed(
            float[] a,
            int aAt,
            float[] b,
            int bAt,
            float[] c,
            int cAt,
            int rows,
            int columns,
            int depth,
            boolean accumulate) {
        for (int row = 0; row < rows; row += ROWS) {
            int column = 0;
            for (; column <= columns - 2 * Lanes.LENGTH; column += 2 * Lanes.LENGTH) {
                columnMajor2(a, aAt + row, b, bAt + column, c, cAt + row * TILE + column, depth, accumulate);
            }
            if (column < columns) {
                columnMajor1(a, aAt + row, b, bAt + column, c, cAt + row * TILE + column, depth, accumulate);
            }
        }
    }

    private static void rowMajor2(
            float[] a, int aAt, float[] b, int bAt, float[] c, int cAt, int depth, boolean accumulate) {
        int c0At = cAt;
        int c1At = cAt + TILE;
        int c2At = cAt + 2 * TILE;
        int c3At = cAt + 3 * TILE;
        int c4At = cAt + 4 * TILE;
        int c5At = cAt + 5 * TILE;
        int c6At = cAt + 6 * TILE;
        int c7At = cAt + 7 * TILE;
        FloatVector c0x = accumulate ? FloatVector.fromArray(SPECIES, c, c0At) : FloatVector.zero(SPECIES);
        FloatVector c0y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c0At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c1x = accumulate ? FloatVector.fromArray(SPECIES, c, c1At) : FloatVector.zero(SPECIES);
        FloatVector c1y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c1At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c2x = accumulate ? FloatVector.fromArray(SPECIES, c, c2At) : FloatVector.zero(SPECIES);
        FloatVector c2y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c2At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c3x = accumulate ? FloatVector.fromArray(SPECIES, c, c3At) : FloatVector.zero(SPECIES);
        FloatVector c3y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c3At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c4x = accumulate ? FloatVector.fromArray(SPECIES, c, c4At) : FloatVector.zero(SPECIES);
        FloatVector c4y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c4At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c5x = accumulate ? FloatVector.fromArray(SPECIES, c, c5At) : FloatVector.zero(SPECIES);
        FloatVector c5y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c5At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c6x = accumulate ? FloatVector.fromArray(SPECIES, c, c6At) : FloatVector.zero(SPECIES);
        FloatVector c6y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c6At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c7x = accumulate ? FloatVector.fromArray(SPECIES, c, c7At) : FloatVector.zero(SPECIES);
        FloatVector c7y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c7At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        int a0 = aAt;
        int a1 = aAt + TILE;
        int a2 = aAt + 2 * TILE;
        int a3 = aAt + 3 * TILE;
        int a4 = aAt + 4 * TILE;
        int a5 = aAt + 5 * TILE;
        int a6 = aAt + 6 * TILE;
        int a7 = aAt + 7 * TILE;
        for (int k = 0; k < depth; k++) {
            FloatVector bx = FloatVector.fromArray(SPECIES, b, bAt + k * TILE);
            FloatVector by = FloatVector.fromArray(SPECIES, b, bAt + k * TILE + Lanes.LENGTH);
            FloatVector a0k = FloatVector.broadcast(SPECIES, a[a0 + k]);
            c0x = a0k.fma(bx, c0x);
            c0y = a0k.fma(by, c0y);
            FloatVector a1k = FloatVector.broadcast(SPECIES, a[a1 + k]);
            c1x = a1k.fma(bx, c1x);
            c1y = a1k.fma(by, c1y);
            FloatVector a2k = FloatVector.broadcast(SPECIES, a[a2 + k]);
            c2x = a2k.fma(bx, c2x);
            c2y = a2k.fma(by, c2y);
            FloatVector a3k = FloatVector.broadcast(SPECIES, a[a3 + k]);
            c3x = a3k.fma(bx, c3x);
            c3y = a3k.fma(by, c3y);
            FloatVector a4k = FloatVector.broadcast(SPECIES, a[a4 + k]);
            c4x = a4k.fma(bx, c4x);
            c4y = a4k.fma(by, c4y);
            FloatVector a5k = FloatVector.broadcast(SPECIES, a[a5 + k]);
            c5x = a5k.fma(bx, c5x);
            c5y = a5k.fma(by, c5y);
            FloatVector a6k = FloatVector.broadcast(SPECIES, a[a6 + k]);
            c6x = a6k.fma(bx, c6x);
            c6y = a6k.fma(by, c6y);
            FloatVector a7k = FloatVector.broadcast(SPECIES, a[a7 + k]);
            c7x = a7k.fma(bx, c7x);
            c7y = a7k.fma(by, c7y);
        }
        Lanes.ONE.mul(c0x).intoArray(c, c0At);
        Lanes.ONE.mul(c0y).intoArray(c, c0At + Lanes.LENGTH);
        Lanes.ONE.mul(c1x).intoArray(c, c1At);
        Lanes.ONE.mul(c1y).intoArray(c, c1At + Lanes.LENGTH);
        Lanes.ONE.mul(c2x).intoArray(c, c2At);
        Lanes.ONE.mul(c2y).intoArray(c, c2At + Lanes.LENGTH);
        Lanes.ONE.mul(c3x).intoArray(c, c3At);
        Lanes.ONE.mul(c3y).intoArray(c, c3At + Lanes.LENGTH);
        Lanes.ONE.mul(c4x).intoArray(c, c4At);
        Lanes.ONE.mul(c4y).intoArray(c, c4At + Lanes.LENGTH);
        Lanes.ONE.mul(c5x).intoArray(c, c5At);
        Lanes.ONE.mul(c5y).intoArray(c, c5At + Lanes.LENGTH);
        Lanes.ONE.mul(c6x).intoArray(c, c6At);
        Lanes.ONE.mul(c6y).intoArray(c, c6At + Lanes.LENGTH);
        Lanes.ONE.mul(c7x).intoArray(c, c7At);
        Lanes.ONE.mul(c7y).intoArray(c, c7At + Lanes.LENGTH);
    }

    private static void rowMajor1(
            float[] a, int aAt, float[] b, int bAt, float[] c, int cAt, int depth, boolean accumulate) {
        int c0At = cAt;
        int c1At = cAt + TILE;
        int c2At = cAt + 2 * TILE;
        int c3At = cAt + 3 * TILE;
        int c4At = cAt + 4 * TILE;
        int c5At = cAt + 5 * TILE;
        int c6At = cAt + 6 * TILE;
        int c7At = cAt + 7 * TILE;
        FloatVector c0 = accumulate ? FloatVector.fromArray(SPECIES, c, c0At) : FloatVector.zero(SPECIES);
        FloatVector c1 = accumulate ? FloatVector.fromArray(SPECIES, c, c1At) : FloatVector.zero(SPECIES);
        FloatVector c2 = accumulate ? FloatVector.fromArray(SPECIES, c, c2At) : FloatVector.zero(SPECIES);
        FloatVector c3 = accumulate ? FloatVector.fromArray(SPECIES, c, c3At) : FloatVector.zero(SPECIES);
        FloatVector c4 = accumulate ? FloatVector.fromArray(SPECIES, c, c4At) : FloatVector.zero(SPECIES);
        FloatVector c5 = accumulate ? FloatVector.fromArray(SPECIES, c, c5At) : FloatVector.zero(SPECIES);
        FloatVector c6 = accumulate ? FloatVector.fromArray(SPECIES, c, c6At) : FloatVector.zero(SPECIES);
        FloatVector c7 = accumulate ? FloatVector.fromArray(SPECIES, c, c7At) : FloatVector.zero(SPECIES);
        int a0 = aAt;
        int a1 = aAt + TILE;
        int a2 = aAt + 2 * TILE;
        int a3 = aAt + 3 * TILE;
        int a4 = aAt + 4 * TILE;
        int a5 = aAt + 5 * TILE;
        int a6 = aAt + 6 * TILE;
        int a7 = aAt + 7 * TILE;
        for (int k = 0; k < depth; k++) {
            FloatVector b0 = FloatVector.fromArray(SPECIES, b, bAt + k * TILE);
            c0 = FloatVector.broadcast(SPECIES, a[a0 + k]).fma(b0, c0);
            c1 = FloatVector.broadcast(SPECIES, a[a1 + k]).fma(b0, c1);
            c2 = FloatVector.broadcast(SPECIES, a[a2 + k]).fma(b0, c2);
            c3 = FloatVector.broadcast(SPECIES, a[a3 + k]).fma(b0, c3);
            c4 = FloatVector.broadcast(SPECIES, a[a4 + k]).fma(b0, c4);
            c5 = FloatVector.broadcast(SPECIES, a[a5 + k]).fma(b0, c5);
            c6 = FloatVector.broadcast(SPECIES, a[a6 + k]).fma(b0, c6);
            c7 = FloatVector.broadcast(SPECIES, a[a7 + k]).fma(b0, c7);
        }
        Lanes.ONE.mul(c0).intoArray(c, c0At);
        Lanes.ONE.mul(c1).intoArray(c, c1At);
        Lanes.ONE.mul(c2).intoArray(c, c2At);
        Lanes.ONE.mul(c3).intoArray(c, c3At);
        Lanes.ONE.mul(c4).intoArray(c, c4At);
        Lanes.ONE.mul(c5).intoArray(c, c5At);
        Lanes.ONE.mul(c6).intoArray(c, c6At);
        Lanes.ONE.mul(c7).intoArray(c, c7At);
    }

    private static void columnMajor2(
            float[] a, int aAt, float[] b, int bAt, float[] c, int cAt, int depth, boolean accumulate) {
        int c0At = cAt;
        int c1At = cAt + TILE;
        int c2At = cAt + 2 * TILE;
        int c3At = cAt + 3 * TILE;
        int c4At = cAt + 4 * TILE;
        int c5At = cAt + 5 * TILE;
        int c6At = cAt + 6 * TILE;
        int c7At = cAt + 7 * TILE;
        FloatVector c0x = accumulate ? FloatVector.fromArray(SPECIES, c, c0At) : FloatVector.zero(SPECIES);
        FloatVector c0y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c0At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c1x = accumulate ? FloatVector.fromArray(SPECIES, c, c1At) : FloatVector.zero(SPECIES);
        FloatVector c1y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c1At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c2x = accumulate ? FloatVector.fromArray(SPECIES, c, c2At) : FloatVector.zero(SPECIES);
        FloatVector c2y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c2At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c3x = accumulate ? FloatVector.fromArray(SPECIES, c, c3At) : FloatVector.zero(SPECIES);
        FloatVector c3y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c3At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c4x = accumulate ? FloatVector.fromArray(SPECIES, c, c4At) : FloatVector.zero(SPECIES);
        FloatVector c4y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c4At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c5x = accumulate ? FloatVector.fromArray(SPECIES, c, c5At) : FloatVector.zero(SPECIES);
        FloatVector c5y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c5At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c6x = accumulate ? FloatVector.fromArray(SPECIES, c, c6At) : FloatVector.zero(SPECIES);
        FloatVector c6y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c6At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        FloatVector c7x = accumulate ? FloatVector.fromArray(SPECIES, c, c7At) : FloatVector.zero(SPECIES);
        FloatVector c7y =
                accumulate ? FloatVector.fromArray(SPECIES, c, c7At + Lanes.LENGTH) : FloatVector.zero(SPECIES);
        for (int k = 0; k < depth; k++) {
            FloatVector bx = FloatVector.fromArray(SPECIES, b, bAt + k * TILE);
            FloatVector by = FloatVector.fromArray(SPECIES, b, bAt + k * TILE + Lanes.LENGTH);
            FloatVector a0k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE]);
            c0x = a0k.fma(bx, c0x);
            c0y = a0k.fma(by, c0y);
            FloatVector a1k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 1]);
            c1x = a1k.fma(bx, c1x);
            c1y = a1k.fma(by, c1y);
            FloatVector a2k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 2]);
            c2x = a2k.fma(bx, c2x);
            c2y = a2k.fma(by, c2y);
            FloatVector a3k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 3]);
            c3x = a3k.fma(bx, c3x);
            c3y = a3k.fma(by, c3y);
            FloatVector a4k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 4]);
            c4x = a4k.fma(bx, c4x);
            c4y = a4k.fma(by, c4y);
            FloatVector a5k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 5]);
            c5x = a5k.fma(bx, c5x);
            c5y = a5k.fma(by, c5y);
            FloatVector a6k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 6]);
            c6x = a6k.fma(bx, c6x);
            c6y = a6k.fma(by, c6y);
            FloatVector a7k = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 7]);
            c7x = a7k.fma(bx, c7x);
            c7y = a7k.fma(by, c7y);
        }
        Lanes.ONE.mul(c0x).intoArray(c, c0At);
        Lanes.ONE.mul(c0y).intoArray(c, c0At + Lanes.LENGTH);
        Lanes.ONE.mul(c1x).intoArray(c, c1At);
        Lanes.ONE.mul(c1y).intoArray(c, c1At + Lanes.LENGTH);
        Lanes.ONE.mul(c2x).intoArray(c, c2At);
        Lanes.ONE.mul(c2y).intoArray(c, c2At + Lanes.LENGTH);
        Lanes.ONE.mul(c3x).intoArray(c, c3At);
        Lanes.ONE.mul(c3y).intoArray(c, c3At + Lanes.LENGTH);
        Lanes.ONE.mul(c4x).intoArray(c, c4At);
        Lanes.ONE.mul(c4y).intoArray(c, c4At + Lanes.LENGTH);
        Lanes.ONE.mul(c5x).intoArray(c, c5At);
        Lanes.ONE.mul(c5y).intoArray(c, c5At + Lanes.LENGTH);
        Lanes.ONE.mul(c6x).intoArray(c, c6At);
        Lanes.ONE.mul(c6y).intoArray(c, c6At + Lanes.LENGTH);
        Lanes.ONE.mul(c7x).intoArray(c, c7At);
        Lanes.ONE.mul(c7y).intoArray(c, c7At + Lanes.LENGTH);
    }

    private static void columnMajor1(
            float[] a, int aAt, float[] b, int bAt, float[] c, int cAt, int depth, boolean accumulate) {
        int c0At = cAt;
        int c1At = cAt + TILE;
        int c2At = cAt + 2 * TILE;
        int c3At = cAt + 3 * TILE;
        int c4At = cAt + 4 * TILE;
        int c5At = cAt + 5 * TILE;
        int c6At = cAt + 6 * TILE;
        int c7At = cAt + 7 * TILE;
        FloatVector c0 = accumulate ? FloatVector.fromArray(SPECIES, c, c0At) : FloatVector.zero(SPECIES);
        FloatVector c1 = accumulate ? FloatVector.fromArray(SPECIES, c, c1At) : FloatVector.zero(SPECIES);
        FloatVector c2 = accumulate ? FloatVector.fromArray(SPECIES, c, c2At) : FloatVector.zero(SPECIES);
        FloatVector c3 = accumulate ? FloatVector.fromArray(SPECIES, c, c3At) : FloatVector.zero(SPECIES);
        FloatVector c4 = accumulate ? FloatVector.fromArray(SPECIES, c, c4At) : FloatVector.zero(SPECIES);
        FloatVector c5 = accumulate ? FloatVector.fromArray(SPECIES, c, c5At) : FloatVector.zero(SPECIES);
        FloatVector c6 = accumulate ? FloatVector.fromArray(SPECIES, c, c6At) : FloatVector.zero(SPECIES);
        FloatVector c7 = accumulate ? FloatVector.fromArray(SPECIES, c, c7At) : FloatVector.zero(SPECIES);
        for (int k = 0; k < depth; k++) {
            FloatVector b0 = FloatVector.fromArray(SPECIES, b, bAt + k * TILE);
            c0 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE]).fma(b0, c0);
            c1 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 1]).fma(b0, c1);
            c2 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 2]).fma(b0, c2);
            c3 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 3]).fma(b0, c3);
            c4 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 4]).fma(b0, c4);
            c5 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 5]).fma(b0, c5);
            c6 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 6]).fma(b0, c6);
            c7 = FloatVector.broadcast(SPECIES, a[aAt + k * TILE + 7]).fma(b0, c7);
        }
        Lanes.ONE.mul(c0).intoArray(c, c0At);
        Lanes.ONE.mul(c1).intoArray(c, c1At);
        Lanes.ONE.mul(c2).intoArray(c, c2At);
        Lanes.ONE.mul(c3).intoArray(c, c3At);
        Lanes.ONE.mul(c4).intoArray(c, c4At);
        Lanes.ONE.mul(c5).intoArray(c, c5At);
        Lanes.ONE.mul(c6).intoArray(c, c6At);
        Lanes.ONE.mul(c7).intoArray(c, c7At);
    }
}
