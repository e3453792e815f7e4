package io.vectune.cli;

import picocli.CommandLine.Command;

/// `vectune flux`: commands for Flux transformers.
@Command(
        name = "flux",
        description =
                "Run a Flux transformer (diffusers' FluxTransformer2DModel); info, quantize, merge and tune take one too.",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = FluxStepCommand.class)
final class FluxCommand {}
