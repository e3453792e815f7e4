package io.vectune.cli;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// The option `--quantize` of commands that run a model: `hqq4`, `hqq8`, `hqq3g32`, `nf4`, `fp4`, `int8`.
final class QuantizeOnLoad {
    private static final Pattern HQQ = Pattern.compile("hqq(8|6|5|4|3|2|1\\.58|1)(?:g(\\d+))?");

    @Option(
            names = "--quantize",
            paramLabel = "METHOD",
            description = "Quantize the linear layers in memory first: hqq4, hqq3g32, nf4, int8, ...")
    private @Nullable String method;

    /// The quantizer that was asked for; null for none.
    @Nullable WeightQuantizer quantizer() {
        return method == null ? null : parse(method);
    }

    /// The quantizer of that name.
    ///
    /// @throws UsageException for another text
    static WeightQuantizer parse(String text) {
        String name = text.toLowerCase(Locale.ROOT);
        Matcher hqq = HQQ.matcher(name);
        try {
            if (hqq.matches()) {
                QuantizeOptions options = QuantizeOptions.of("hqq").withBits(hqq.group(1));
                return Quantizers.of(hqq.group(2) == null ? options : options.withGroupSize(hqq.group(2)));
            }
            if (Quantizers.methods().contains(name) && !name.equals("hqq")) {
                return Quantizers.of(QuantizeOptions.of(name));
            }
        } catch (IllegalArgumentException | VectuneException wrong) {
            throw new UsageException("--quantize " + text + ": " + wrong.getMessage());
        }
        throw new UsageException(
                "--quantize: expected hqq8, hqq6, hqq5, hqq4, hqq3, hqq2, hqq1.58 or hqq1 (with a group"
                        + " size: hqq4g32)"
                        + others()
                        + ", found \""
                        + text
                        + "\"");
    }

    private static String others() {
        StringBuilder text = new StringBuilder();
        for (String method : Quantizers.methods()) {
            if (!method.equals("hqq")) {
                text.append(", ").append(method);
            }
        }
        return text.toString();
    }
}
