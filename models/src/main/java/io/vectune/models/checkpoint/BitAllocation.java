package io.vectune.models.checkpoint;

import io.vectune.models.eval.LayerMoments;
import io.vectune.models.load.ModelTensors;
import io.vectune.quant.BitBudget;
import io.vectune.quant.QuantizationError;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.Quantizers;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Chooses the bits of each layer under a budget of bits a weight: every layer is quantized in every width, what that
/// costs is estimated, and [BitBudget] spends the bytes where they help most.
///
/// With calibration the cost is the diagonal Fisher estimate of the loss's growth ([QuantizationError#weighted]);
/// without, the squared relative error times the number of weights.
public final class BitAllocation {
    /// The widths that are chosen from. 5 and 6 bits are stored in 8, 1.58 bits in 2.
    private static final List<String> WIDTHS = List.of("1", "2", "3", "4", "8");

    private BitAllocation() {}

    /// A plan whose layers together have at most `targetBits` stored bits a weight, metadata included.
    ///
    /// @param path model directory or safetensors file
    /// @param options of hqq; the width is not looked at
    /// @param moments what calibration measured, with gradients, by layer; empty for none
    /// @param progress gets the name of each layer when its widths are measured
    /// @throws VectuneException if the smallest widths are too large for the budget, or no width fits a layer's shape
    public static QuantizationPlan plan(
            Path path,
            LayerSelection selection,
            QuantizeOptions options,
            double targetBits,
            Map<String, LayerMoments> moments,
            Compute compute,
            Consumer<List<String>> plan,
            Consumer<String> progress) {
        Map<String, WeightQuantizer> quantizers = new LinkedHashMap<>();
        WIDTHS.forEach(width -> quantizers.put(width, Quantizers.of(options.withBits(width))));
        Map<String, List<BitBudget.Choice>> choices = new LinkedHashMap<>();
        long weights = 0;
        long smallest = 0;
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = ModelTensors.open(path, arena);
            List<String> layers = selection.select(source);
            plan.accept(layers);
            for (String layer : layers) {
                Tensor dense = source.tensor(layer + ".weight");
                List<BitBudget.Choice> own = choices(compute, layer, dense, quantizers, moments.get(layer));
                choices.put(layer, own);
                weights += dense.elements();
                smallest += own.stream().mapToLong(BitBudget.Choice::bytes).min().orElse(0);
                dense.release();
                progress.accept(layer);
            }
        }
        long budget = (long) Math.floor(targetBits * weights / 8);
        if (smallest > budget) {
            throw new VectuneException(
                    String.format(
                            Locale.ROOT,
                            "--target-bits: expected at least %.3f, what the narrowest widths with their metadata take here, found %s;"
                                    + " larger groups have less metadata",
                            8.0 * smallest / weights,
                            targetBits));
        }
        Map<String, WeightQuantizer> own = new LinkedHashMap<>();
        BitBudget.pick(choices, budget)
                .forEach((layer, choice) -> own.put(layer, quantizer(quantizers, choice.name())));
        return new QuantizationPlan(mostUsed(own), own, 0, Map.of());
    }

    private static List<BitBudget.Choice> choices(
            Compute compute,
            String layer,
            Tensor dense,
            Map<String, WeightQuantizer> quantizers,
            @Nullable LayerMoments moments) {
        List<BitBudget.Choice> choices = new ArrayList<>();
        int rows = Math.toIntExact(dense.size(0));
        int columns = Math.toIntExact(dense.size(1));
        VectuneException refused = null;
        for (Map.Entry<String, WeightQuantizer> entry : quantizers.entrySet()) {
            WeightQuantizer quantizer = entry.getValue();
            long bytes;
            try {
                bytes =
                        quantizer.declare(layer, rows, columns, dense.dtype()).values().stream()
                                .mapToLong(TensorSpec::bytes)
                                .sum();
            } catch (VectuneException doesNotPack) {
                // A narrow width packs several rows of groups into a byte, which not every shape allows.
                refused = doesNotPack;
                continue;
            }
            try (Arena arena = Arena.ofShared()) {
                QuantizedWeight weight = quantizer.quantize(compute, layer, dense, arena);
                choices.add(new BitBudget.Choice(entry.getKey(), bytes, loss(compute, dense, weight, moments)));
            }
        }
        if (choices.isEmpty() && refused != null) {
            throw refused;
        }
        return choices;
    }

    private static double loss(Compute compute, Tensor dense, QuantizedWeight weight, @Nullable LayerMoments moments) {
        if (moments != null) {
            return QuantizationError.weighted(compute, dense, weight, moments.inputs(), moments.outputGradients());
        }
        double relative = QuantizationError.measure(compute, dense, weight).relativeError();
        return relative * relative * dense.elements();
    }

    private static WeightQuantizer quantizer(Map<String, WeightQuantizer> quantizers, String width) {
        WeightQuantizer found = quantizers.get(width);
        if (found == null) {
            throw new IllegalArgumentException("width: expected one of " + quantizers.keySet() + ", found " + width);
        }
        return found;
    }

    private static WeightQuantizer mostUsed(Map<String, WeightQuantizer> own) {
        Map<WeightQuantizer, Integer> uses = new LinkedHashMap<>();
        own.values().forEach(quantizer -> uses.merge(quantizer, 1, Integer::sum));
        return uses.entrySet().stream().max(Map.Entry.comparingByValue()).orElseThrow().getKey();
    }
}
