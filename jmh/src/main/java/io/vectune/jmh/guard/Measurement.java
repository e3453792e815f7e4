package io.vectune.jmh.guard;

import java.util.List;
import java.util.stream.Stream;

/// What the forks of one benchmark showed. Of each fork the best operation counts, since a disturbance only makes it
/// slower; of the forks the median, since one of them may have been compiled badly.
///
/// @param shares the guarded metric of each fork
/// @param rates operations a second of each fork
/// @param bytes bytes that the calling thread allocated an operation, of each fork
public record Measurement(List<Double> shares, List<Double> rates, List<Double> bytes) {
    public Measurement {
        shares = List.copyOf(shares);
        rates = List.copyOf(rates);
        bytes = List.copyOf(bytes);
    }

    /// The forks of both.
    public Measurement and(Measurement other) {
        return new Measurement(joined(shares, other.shares), joined(rates, other.rates), joined(bytes, other.bytes));
    }

    /// The median share.
    public double share() {
        return median(shares);
    }

    /// The median rate.
    public double rate() {
        return median(rates);
    }

    /// The median of bytes an operation.
    public double bytesPerOperation() {
        return median(bytes);
    }

    /// The largest share of a fork over the smallest: above 1.3 the forks were compiled differently.
    public double spread() {
        double largest = shares.stream().mapToDouble(Double::doubleValue).max().orElse(0);
        double smallest = shares.stream().mapToDouble(Double::doubleValue).min().orElse(0);
        return smallest > 0 ? largest / smallest : Double.POSITIVE_INFINITY;
    }

    private static List<Double> joined(List<Double> first, List<Double> second) {
        return Stream.concat(first.stream(), second.stream()).toList();
    }

    private static double median(List<Double> values) {
        if (values.isEmpty()) {
            throw new IllegalStateException("no fork gave a result");
        }
        List<Double> sorted = values.stream().sorted().toList();
        int middle = sorted.size() / 2;
        return sorted.size() % 2 == 1 ? sorted.get(middle) : (sorted.get(middle - 1) + sorted.get(middle)) / 2;
    }
}
