package io.vectune.adapters;

/// What data the start values of a kind come from.
public enum StartData {
    /// None.
    NONE,
    /// The principal directions of the layers' inputs, without which there is no start: EVA.
    DIRECTIONS,
    /// Inputs that rank singular directions of the weight, which can also be taken by size alone: AntiPaSTO.
    INPUTS,
    /// The weights before they were quantized: LoftQ.
    ORIGINALS
}
