package io.vectune.runtime.matmul;

/// The sides of a product as its kernels read them, in one array: right panels, packed or a block of decoded ones a
/// worker, and behind them packed left rows. One array, so that the register tiles find what they read ahead where the
/// panels are: each array more takes a register that they do not have.
///
/// Panels start at [#START], so that vector loads do not cross cache lines if the array is a large one. The elements of
/// a Java array begin 16 bytes behind the start of the object, and objects lie at multiples of 8 bytes. But arrays that
/// are large for the collector get memory of their own, from a page on (G1: from half of a region of 1 to 32 MB on; Z:
/// from some MB on), and are not moved: 12 floats behind their first one a cache line begins. A load of 64 bytes that
/// crosses a line costs two accesses: Emerald Rapids multiplies at 82 % of its peak with panels that lie across lines
/// in the second-level cache, and at 91 % with others.
final class PackedSides {
    /// Where the first panel begins.
    static final int START = 12;

    /// From so many floats on, 128 KB, the array is made large enough to count as large for a collector.
    private static final int LARGE_FROM = 1 << 15;

    /// Floats of an array that counts as large with the heaps of usual machines: 2 MB.
    private static final int LARGE = 1 << 19;

    private final Scratch floats = new Scratch();
    private int rowsAt;

    /// Makes room for so many floats of panels and of rows; what was there is lost.
    void reserve(long panels, long rows) {
        int length = Math.toIntExact(START + panels + rows);
        floats.ofLength(length < LARGE_FROM ? length : Math.max(LARGE, length));
        rowsAt = Math.toIntExact(START + panels);
    }

    float[] array() {
        return floats.array();
    }

    /// Where the packed rows begin.
    int rowsAt() {
        return rowsAt;
    }
}
