package io.vectune.adapters.kind;

import io.vectune.runtime.tensor.Matrix;

/// Dense double matrices of the size of a rank or a block: plain loops, row-major arrays.
final class SmallMatrix {
    private SmallMatrix() {}

    /// a bᵀ of the rows of two f32 matrices with as many columns, in double.
    static double[] nt(Matrix a, Matrix b) {
        int columns = a.columns();
        float[] left = a.toArray();
        float[] right = b.toArray();
        double[] product = new double[a.rows() * b.rows()];
        for (int row = 0; row < a.rows(); row++) {
            for (int column = 0; column < b.rows(); column++) {
                double sum = 0;
                for (int i = 0; i < columns; i++) {
                    sum += (double) left[row * columns + i] * right[column * columns + i];
                }
                product[row * b.rows() + column] = sum;
            }
        }
        return product;
    }

    /// The inverse of a square matrix, by Gauss-Jordan elimination with partial pivoting.
    ///
    /// @throws ArithmeticException if it is singular
    static double[] inverse(double[] matrix, int n) {
        double[] a = matrix.clone();
        double[] inverse = identity(n);
        for (int column = 0; column < n; column++) {
            int pivot = column;
            for (int row = column + 1; row < n; row++) {
                if (Math.abs(a[row * n + column]) > Math.abs(a[pivot * n + column])) {
                    pivot = row;
                }
            }
            double head = a[pivot * n + column];
            if (head == 0) {
                throw new ArithmeticException("singular matrix");
            }
            swapRows(a, n, pivot, column);
            swapRows(inverse, n, pivot, column);
            for (int j = 0; j < n; j++) {
                a[column * n + j] /= head;
                inverse[column * n + j] /= head;
            }
            for (int row = 0; row < n; row++) {
                double factor = a[row * n + column];
                if (row != column && factor != 0) {
                    for (int j = 0; j < n; j++) {
                        a[row * n + j] -= factor * a[column * n + j];
                        inverse[row * n + j] -= factor * inverse[column * n + j];
                    }
                }
            }
        }
        return inverse;
    }

    private static void swapRows(double[] a, int n, int first, int second) {
        for (int j = 0; first != second && j < n; j++) {
            double kept = a[first * n + j];
            a[first * n + j] = a[second * n + j];
            a[second * n + j] = kept;
        }
    }

    static double[] identity(int n) {
        double[] identity = new double[n * n];
        for (int i = 0; i < n; i++) {
            identity[i * n + i] = 1;
        }
        return identity;
    }

    /// a (m, k) b (k, n).
    static double[] nn(double[] a, double[] b, int m, int k, int n) {
        double[] c = new double[m * n];
        for (int row = 0; row < m; row++) {
            for (int inner = 0; inner < k; inner++) {
                double factor = a[row * k + inner];
                for (int column = 0; column < n; column++) {
                    c[row * n + column] += factor * b[inner * n + column];
                }
            }
        }
        return c;
    }

    /// The transpose of a (m, n).
    static double[] transpose(double[] a, int m, int n) {
        double[] t = new double[m * n];
        for (int row = 0; row < m; row++) {
            for (int column = 0; column < n; column++) {
                t[column * m + row] = a[row * n + column];
            }
        }
        return t;
    }

    static double[] doubles(Matrix matrix) {
        float[] values = matrix.toArray();
        double[] result = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            result[i] = values[i];
        }
        return result;
    }

    static void store(double[] values, Matrix matrix) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                matrix.set(row, column, (float) values[row * matrix.columns() + column]);
            }
        }
    }

    /// matrix += factor * values.
    static void add(Matrix matrix, double[] values, double factor) {
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                double sum = matrix.get(row, column) + factor * values[row * matrix.columns() + column];
                matrix.set(row, column, (float) sum);
            }
        }
    }
}
