package io.vectune.quant;

import io.vectune.runtime.VectuneException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.SequencedMap;

/// Picks how each layer is quantized so that the whole fits a size and loses as little as possible.
///
/// Starts from each layer's smallest choice and spends the rest of the budget step by step where a byte buys most: on
/// the layer whose next choice on the lower convex hull of (bytes, loss) lowers the loss most a byte. That is optimal
/// for every budget that the steps meet exactly, and off by less than one step otherwise.
public final class BitBudget {
    /// One way to quantize a layer.
    ///
    /// @param name what the caller calls it, `4` or `2`
    /// @param bytes its stored size
    /// @param loss what it costs: a sensitivity, in any unit common to all layers
    public record Choice(String name, long bytes, double loss) {}

    private record Step(String layer, int to, double gainPerByte, long bytes) {}

    private BitBudget() {}

    /// The choice of each layer.
    ///
    /// @param layers the choices of each layer, in any order, at least one each
    /// @param budgetBytes the size that all layers together may have
    /// @throws VectuneException if not even the smallest choices fit
    public static SequencedMap<String, Choice> pick(Map<String, List<Choice>> layers, long budgetBytes) {
        SequencedMap<String, List<Choice>> hulls = new LinkedHashMap<>();
        SequencedMap<String, Choice> picked = new LinkedHashMap<>();
        long spent = 0;
        for (Map.Entry<String, List<Choice>> layer : layers.entrySet()) {
            List<Choice> hull = hull(layer.getValue());
            hulls.put(layer.getKey(), hull);
            picked.put(layer.getKey(), hull.getFirst());
            spent += hull.getFirst().bytes();
        }
        if (spent > budgetBytes) {
            throw new VectuneException(
                    "target bits: expected room for at least "
                            + spent
                            + " bytes, the smallest choice of every layer, found "
                            + budgetBytes);
        }
        PriorityQueue<Step> steps =
                new PriorityQueue<>(
                        Comparator.comparingDouble(Step::gainPerByte).reversed().thenComparing(Step::layer));
        hulls.forEach((layer, hull) -> addStep(steps, layer, hull, 1));
        for (Step step = steps.poll(); step != null; step = steps.poll()) {
            if (spent + step.bytes() <= budgetBytes) {
                spent += step.bytes();
                List<Choice> hull = hulls.getOrDefault(step.layer(), List.of());
                picked.put(step.layer(), hull.get(step.to()));
                addStep(steps, step.layer(), hull, step.to() + 1);
            }
        }
        return picked;
    }

    private static void addStep(PriorityQueue<Step> steps, String layer, List<Choice> hull, int to) {
        if (to < hull.size()) {
            Choice from = hull.get(to - 1);
            Choice next = hull.get(to);
            long bytes = next.bytes() - from.bytes();
            steps.add(new Step(layer, to, (from.loss() - next.loss()) / bytes, bytes));
        }
    }

    /// The choices on the lower convex hull, smallest first: each larger one loses less, at a falling rate.
    private static List<Choice> hull(List<Choice> choices) {
        List<Choice> sorted = new ArrayList<>(choices);
        sorted.sort(Comparator.comparingLong(Choice::bytes).thenComparingDouble(Choice::loss));
        List<Choice> hull = new ArrayList<>();
        for (Choice choice : sorted) {
            if (!hull.isEmpty() && !(choice.loss() < hull.getLast().loss())) {
                continue;
            }
            while (hull.size() >= 2
                    && rate(hull.getLast(), choice) >= rate(hull.get(hull.size() - 2), hull.getLast())) {
                hull.removeLast();
            }
            hull.add(choice);
        }
        return hull;
    }

    private static double rate(Choice from, Choice to) {
        return (from.loss() - to.loss()) / (to.bytes() - from.bytes());
    }
}
