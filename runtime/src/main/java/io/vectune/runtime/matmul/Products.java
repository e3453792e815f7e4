package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.Compute;
import java.util.concurrent.atomic.AtomicBoolean;

/// The product kernels of one session, with their buffers.
///
/// A session runs one product at a time. A product inside a parallel region of the same session (a head or an expert
/// that multiplies on its own) finds the buffers taken and gets its own.
final class Products {
    private final Gemm gemm;
    private final NarrowProduct narrow;
    private final FewTokenProduct fewTokens;
    private final FusedProduct fused = new FusedProduct();
    private final AtomicBoolean taken = new AtomicBoolean();

    private Products(int threads) {
        this.gemm = new Gemm(threads, TileKernels.active());
        this.narrow = new NarrowProduct(threads, NarrowKernels.active());
        this.fewTokens = new FewTokenProduct(threads, DotKernels.active(), NarrowKernels.active());
    }

    /// The session's products, taken until [#release].
    static Products take(Compute compute) {
        Products own = compute.resource(Products.class, session -> new Products(session.team().size()));
        if (own.taken.compareAndSet(false, true)) {
            return own;
        }
        Products spare = new Products(compute.team().size());
        spare.taken.set(true);
        return spare;
    }

    void release() {
        taken.set(false);
    }

    Gemm gemm() {
        return gemm;
    }

    NarrowProduct narrow() {
        return narrow;
    }

    FewTokenProduct fewTokens() {
        return fewTokens;
    }

    FusedProduct fused() {
        return fused;
    }
}
