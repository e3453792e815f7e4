package io.vectune.adapters.kind;

import java.util.Map;

/// The formula of a kind in double, written as in its paper: dense, slow, without the tricks of the implementation.
@FunctionalInterface
interface AdapterOracle {
    /// The adapted layer's output (tokens, outFeatures).
    ///
    /// @param p parameters by name, row-major
    /// @param constants the parameters at the point where derivatives are taken, for what the kind takes as constant
    double[] forward(Layer layer, Map<String, double[]> p, Map<String, double[]> constants, double[] x);

    /// The layer under test.
    @SuppressWarnings("ArrayRecordComponent") // compared by nobody
    record Layer(int tokens, int in, int out, double[] weight, double[] bias) {
        /// x Wᵀ + b for any weight and bias of this shape.
        double[] linear(double[] x, double[] w, double[] b) {
            double[] y = new double[tokens * out];
            for (int t = 0; t < tokens; t++) {
                for (int o = 0; o < out; o++) {
                    double sum = b.length == 0 ? 0 : b[o];
                    for (int i = 0; i < in; i++) {
                        sum += x[t * in + i] * w[o * in + i];
                    }
                    y[t * out + o] = sum;
                }
            }
            return y;
        }

        /// The layer without adapter.
        double[] base(double[] x) {
            return linear(x, weight, bias);
        }
    }

    /// a (m, k) times b (k, n).
    static double[] multiply(double[] a, double[] b, int m, int k, int n) {
        double[] c = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int l = 0; l < k; l++) {
                    sum += a[i * k + l] * b[l * n + j];
                }
                c[i * n + j] = sum;
            }
        }
        return c;
    }

    /// a + factor * b.
    static double[] plus(double[] a, double[] b, double factor) {
        double[] c = a.clone();
        for (int i = 0; i < c.length; i++) {
            c[i] += factor * b[i];
        }
        return c;
    }

    /// The transpose of a (m, n).
    static double[] transpose(double[] a, int m, int n) {
        double[] t = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                t[j * m + i] = a[i * n + j];
            }
        }
        return t;
    }
}
