package io.vectune.quant.bnb;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import tools.jackson.databind.node.ObjectNode;

/// NF4 or FP4 with one configuration for all layers.
///
/// @param config what all layers share
/// @param computeDtype what config.json names as compute type; empty for the type of the dense weights
public record FourBitWeightQuantizer(FourBitConfig config, Optional<DType> computeDtype) implements WeightQuantizer {
    /// The quantizer that a user asked for.
    ///
    /// @throws VectuneException if the block size is none of the library's
    public static FourBitWeightQuantizer of(QuantizeOptions options) {
        FourBitType type = options.method().equals("nf4") ? FourBitType.NF4 : FourBitType.FP4;
        try {
            FourBitConfig config = new FourBitConfig(type, options.blockSize(), options.doubleQuant(), DType.U8);
            return new FourBitWeightQuantizer(config, options.computeDtype());
        } catch (IllegalArgumentException refused) {
            throw new VectuneException(options.method() + ": " + refused.getMessage(), refused);
        }
    }

    @Override
    public String description() {
        return FourBitWeight.describe(config);
    }

    @Override
    public SequencedMap<String, TensorSpec> declare(String layer, int outFeatures, int inFeatures, DType inputType) {
        long elements = (long) outFeatures * inFeatures;
        long blocks = (elements + config.blockSize() - 1) / config.blockSize();
        int size = DynamicMap.BLOCK_SIZE;
        QuantState state =
                new QuantState(
                        config.type(),
                        config.blockSize(),
                        inputType,
                        outFeatures,
                        inFeatures,
                        config.doubleQuant(),
                        config.doubleQuant() ? size : 1,
                        0);
        String name = layer + ".weight";
        SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
        specs.put(name, packedSpec(config, elements));
        specs.put(name + ".absmax", TensorSpec.of(config.doubleQuant() ? DType.U8 : DType.F32, blocks));
        specs.put(name + ".quant_map", TensorSpec.of(DType.F32, 16));
        if (config.doubleQuant()) {
            specs.put(name + ".nested_absmax", TensorSpec.of(DType.F32, (blocks + size - 1) / size));
            specs.put(name + ".nested_quant_map", TensorSpec.of(DType.F32, 256));
        }
        specs.put(stateKey(name, config.type()), TensorSpec.of(DType.U8, state.encodedLength()));
        return specs;
    }

    /// Type and shape of the packed codes: one column of bytes, or of floats over the same bytes.
    static TensorSpec packedSpec(FourBitConfig config, long elements) {
        int itemBytes = config.storageDtype().bytes();
        return TensorSpec.of(config.storageDtype(), ((elements + 1) / 2 + itemBytes - 1) / itemBytes, 1);
    }

    static String stateKey(String name, FourBitType type) {
        return name + ".quant_state.bitsandbytes__" + type.key();
    }

    @Override
    public QuantizedWeight quantize(Compute compute, String layer, Tensor weight, Arena arena) {
        return FourBitQuantizer.quantize(compute, layer, weight, config, arena);
    }

    @Override
    public ObjectNode quantizationConfig(List<String> skippedModules, DType inputType) {
        return BnbQuantizationConfig.fourBit(config, computeDtype.orElse(inputType), skippedModules);
    }
}
