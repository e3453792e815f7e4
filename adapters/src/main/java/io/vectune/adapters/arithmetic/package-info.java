/// Adapters made from adapters: any kind as a plain LoRA, exactly or as the nearest one with its error, and one LoRA
/// from several, as PEFT's add_weighted_adapter combines them.
package io.vectune.adapters.arithmetic;
