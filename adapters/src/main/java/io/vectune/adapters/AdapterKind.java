package io.vectune.adapters;

import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;

/// A kind of adapter in the registry: how its configuration is recognized and read.
///
/// @param name what the command line calls it
/// @param peftType the `peft_type` of its files
/// @param presets fields that this kind adds to a configuration that a user asks for by name
/// @param owns whether a configuration of that `peft_type` is of this kind; kinds are asked in the registry's order
/// @param reader makes the validated recipe
public record AdapterKind(
        String name,
        String peftType,
        Map<String, Object> presets,
        Predicate<ConfigFields> owns,
        Function<ConfigFields, AdapterRecipe> reader) {
    /// A kind that owns all configurations of its type.
    public static AdapterKind of(String name, String peftType, Function<ConfigFields, AdapterRecipe> reader) {
        return new AdapterKind(name, peftType, Map.of(), fields -> true, reader);
    }
}
