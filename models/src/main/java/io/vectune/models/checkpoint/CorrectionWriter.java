package io.vectune.models.checkpoint;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.adapters.kind.Lora;
import io.vectune.quant.LowRankCorrection;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.weight.DenseWeight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Writes the low-rank corrections of a quantized model as a LoRA in PEFT's format: scaling 1, so that the model with
/// the adapter is Wq + B A.
final class CorrectionWriter {
    /// The adapter's directory inside that of the model.
    static final String DIRECTORY = "correction";

    private CorrectionWriter() {}

    /// @param source the dense model
    /// @param rank of the layers that are large enough for it; smaller layers have the rank of their smaller side
    /// @param base where the quantized model will lie: what the adapter names as its base
    static void write(
            Compute compute,
            TensorSource source,
            Map<String, LowRankCorrection> corrections,
            int rank,
            Path base,
            Path directory) {
        List<LayerSite> sites = new ArrayList<>();
        Map<String, Object> ranks = new LinkedHashMap<>();
        corrections.forEach((layer, correction) -> {
            sites.add(new LayerSite(layer, new DenseWeight(source.tensor(layer + ".weight")), null));
            if (correction.loraA().rows() != rank) {
                ranks.put(layer, correction.loraA().rows());
            }
        });
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("r", rank);
        fields.put("lora_alpha", rank);
        fields.put("target_modules", List.copyOf(corrections.keySet()));
        fields.put("rank_pattern", ranks);
        fields.put("alpha_pattern", ranks);
        fields.put("base_model_name_or_path", base.toString());
        AdapterConfig config = AdapterConfig.of("lora", fields);
        try (AdapterSet set =
                AdapterSet.build(
                        config,
                        sites,
                        sites,
                        site -> StoredShapes.NONE,
                        (adapter, site) -> {
                            LowRankCorrection correction = corrections.get(site.name());
                            if (adapter instanceof Lora lora && correction != null) {
                                lora.loraA().copyFrom(correction.loraA());
                                lora.loraB().copyFrom(correction.loraB());
                            }
                        },
                        compute)) {
            AdapterFiles.write(set, directory.resolve(DIRECTORY), AdapterFiles.Format.PEFT, false);
        }
    }
}
