package io.vectune.adapters.training;

import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The trainable parameters of a set for people to read before a run: one line for each kind of layer and parameter, in
/// the order of the host.
public final class TrainableTable {
    private TrainableTable() {}

    /// Tensors that differ in nothing but the layer's index.
    ///
    /// @param module the last part of the module's name: `q_proj`
    /// @param parameter our name of the parameter: `loraA`
    /// @param shape `16 x 576`, or a range where layers differ: `8-31 x 576`
    /// @param tensors how many there are
    /// @param elements how many values they have together
    /// @param decays whether weight decay by kind of parameter acts on them
    public record Line(String module, String parameter, String shape, int tensors, long elements, boolean decays) {}

    private static final class Group {
        private final AdapterParameter first;
        private int leastRows = Integer.MAX_VALUE;
        private int mostRows;
        private int leastColumns = Integer.MAX_VALUE;
        private int mostColumns;
        private int tensors;
        private long elements;

        private Group(AdapterParameter first) {
            this.first = first;
        }

        private void add(int rows, int columns) {
            leastRows = Math.min(leastRows, rows);
            mostRows = Math.max(mostRows, rows);
            leastColumns = Math.min(leastColumns, columns);
            mostColumns = Math.max(mostColumns, columns);
            tensors++;
            elements += (long) rows * columns;
        }

        private Line line(String module) {
            String shape = range(leastRows, mostRows) + " x " + range(leastColumns, mostColumns);
            return new Line(module, first.name(), shape, tensors, elements, first.role().decays());
        }

        private static String range(int least, int most) {
            return least == most ? Integer.toString(least) : least + "-" + most;
        }
    }

    /// The table of a set.
    public static List<Line> of(AdapterSet set) {
        Map<List<String>, Group> groups = new LinkedHashMap<>();
        for (AdapterSet.Entry entry : set.parameters()) {
            AdapterParameter parameter = entry.parameter();
            if (parameter.trainable()) {
                String module = entry.module().substring(entry.module().lastIndexOf('.') + 1);
                groups.computeIfAbsent(List.of(module, parameter.name()), key -> new Group(parameter))
                        .add(parameter.values().rows(), parameter.values().columns());
            }
        }
        List<Line> lines = new ArrayList<>();
        groups.forEach((key, group) -> lines.add(group.line(key.getFirst())));
        return lines;
    }
}
