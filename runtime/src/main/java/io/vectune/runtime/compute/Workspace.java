package io.vectune.runtime.compute;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A stack of temporary matrices: take a mark, allocate, release the mark. Memory is kept for the next use, so that in
/// the steady state nothing is allocated off-heap. Content of a new matrix is undefined.
public final class Workspace implements AutoCloseable {
    private static final long BLOCK_BYTES = 1L << 24;
    private static final long ALIGN = 64;

    /// Matrices remembered, a power of two.
    private static final int RECENT = 256;

    private final Arena arena = Arena.ofShared();
    private final List<MemorySegment> blocks = new ArrayList<>();
    private final List<Long> starts = new ArrayList<>();
    private long top;
    private long capacity;

    // Views that were given out, by their place: a loop that asks for the same ones again allocates none.
    private final @Nullable Matrix[] recent = new Matrix[RECENT];

    /// An empty stack; memory comes with the first matrix.
    public Workspace() {}

    /// The current height of the stack.
    public long mark() {
        return top;
    }

    /// Gives back everything allocated since `mark`.
    public void release(long mark) {
        if (mark < 0 || mark > top) {
            throw new IllegalArgumentException("mark: expected 0 to " + top + ", found " + mark);
        }
        top = mark;
    }

    /// A matrix (rows, columns) of undefined content, rows without gaps, aligned to a cache line.
    public Matrix matrix(int rows, int columns) {
        long bytes = (Math.max(4L * rows * columns, 4) + ALIGN - 1) / ALIGN * ALIGN;
        for (int index = blockOf(top); ; index++) {
            if (index == blocks.size()) {
                long size = Math.max(bytes, BLOCK_BYTES);
                blocks.add(arena.allocate(size, ALIGN));
                starts.add(capacity);
                capacity += size;
            }
            long start = starts.get(index);
            MemorySegment block = blocks.get(index);
            long at = Math.max(top - start, 0);
            if (at + bytes <= block.byteSize()) {
                top = start + at + bytes;
                return view(block, start + at, at, rows, columns);
            }
        }
    }

    private Matrix view(MemorySegment block, long place, long at, int rows, int columns) {
        int slot = (int) ((place / ALIGN * 0x9E3779B97F4A7C15L) >>> 56) & (RECENT - 1);
        Matrix known = recent[slot];
        if (known != null
                && known.segment().equals(block)
                && known.offset() == at
                && known.rows() == rows
                && known.columns() == columns) {
            return known;
        }
        Matrix view = Matrix.of(block, at, rows, columns, columns);
        recent[slot] = view;
        return view;
    }

    /// Bytes held.
    public long capacityBytes() {
        return capacity;
    }

    private int blockOf(long height) {
        int index = 0;
        while (index + 1 < blocks.size() && starts.get(index + 1) <= height) {
            index++;
        }
        return index;
    }

    @Override
    public void close() {
        arena.close();
    }
}
