package io.vectune.adapters.linalg;

import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.QRDecomposition;

/// Householder QR in double: matrix = q r.
///
/// @param q (rows, k), k = min(rows, columns), row-major
/// @param r (k, columns)
/// @param k the inner size
@SuppressWarnings("ArrayRecordComponent") // a result that nobody compares
public record Qr(double[] q, double[] r, int k) {
    /// Decomposes a row-major matrix. R's diagonal has the signs that LAPACK gives: those of Householder reflections.
    public static Qr of(double[] matrix, int rows, int columns) {
        QRDecomposition<DMatrixRMaj> qr = DecompositionFactory_DDRM.qr(rows, columns);
        if (!qr.decompose(DMatrixRMaj.wrap(rows, columns, matrix.clone()))) {
            throw new ArithmeticException("the QR decomposition failed");
        }
        DMatrixRMaj q = qr.getQ(null, true);
        DMatrixRMaj r = qr.getR(null, true);
        return new Qr(q.getData(), r.getData(), Math.min(rows, columns));
    }
}
