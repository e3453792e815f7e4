package io.vectune.adapters;

import io.vectune.adapters.kind.AdaLora;
import io.vectune.adapters.kind.AntiPasto;
import io.vectune.adapters.kind.Delora;
import io.vectune.adapters.kind.Dora;
import io.vectune.adapters.kind.Gralora;
import io.vectune.adapters.kind.Hra;
import io.vectune.adapters.kind.Ia3;
import io.vectune.adapters.kind.LnTuning;
import io.vectune.adapters.kind.Loha;
import io.vectune.adapters.kind.Lokr;
import io.vectune.adapters.kind.Lora;
import io.vectune.adapters.kind.Miss;
import io.vectune.adapters.kind.Oft;
import io.vectune.adapters.kind.Pissa;
import io.vectune.adapters.kind.Road;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.adapters.kind.Vera;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.VectuneException;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;

/// The registry: one line a kind. The order matters where kinds share a `peft_type`: special ones first.
public final class AdapterKinds {
    /// All kinds.
    public static final List<AdapterKind> ALL =
            List.of(
                    Dora.KIND,
                    Pissa.KIND,
                    Pissa.OLORA,
                    Lora.KIND,
                    Lora.EVA,
                    Lora.LOFTQ,
                    Delora.KIND,
                    Hra.KIND,
                    Ia3.KIND,
                    Road.KIND,
                    AntiPasto.KIND,
                    Oft.KIND,
                    Miss.KIND,
                    Vera.KIND,
                    AdaLora.KIND,
                    Loha.KIND,
                    Lokr.KIND,
                    Gralora.KIND,
                    LnTuning.KIND,
                    TrainableTokens.KIND);

    private AdapterKinds() {}

    /// The kind of that name.
    ///
    /// @throws VectuneException for an unknown name; near matches are offered
    public static AdapterKind ofName(String name) {
        for (AdapterKind kind : ALL) {
            if (kind.name().equals(name.toLowerCase(Locale.ROOT))) {
                return kind;
            }
        }
        List<String> names = ALL.stream().map(AdapterKind::name).toList();
        throw new VectuneException(
                "adapter kind: expected one of "
                        + String.join(", ", names)
                        + "; found "
                        + name
                        + NearMatches.hint(name, names));
    }

    /// The recipe of a configuration, by its `peft_type`.
    ///
    /// @throws VectuneException if no kind owns it or a field is wrong
    public static AdapterRecipe read(ConfigFields fields) {
        String type = fields.text("peft_type", "");
        for (AdapterKind kind : ALL) {
            if (kind.peftType().equalsIgnoreCase(type) && kind.owns().test(fields)) {
                return kind.reader().apply(fields);
            }
        }
        TreeSet<String> known = new TreeSet<>();
        ALL.forEach(kind -> known.add(kind.peftType()));
        throw fields.wrong("peft_type", "one of " + String.join(", ", known), type.isEmpty() ? "nothing" : type);
    }
}
