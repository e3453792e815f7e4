package io.vectune.cli;

import picocli.CommandLine.Command;

/// `vectune flux`: commands for Flux transformers.
@Command(
        name = "flux",
        description = "Run, and merge adapters into, Flux transformers (diffusers' FluxTransformer2DModel).",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {FluxStepCommand.class, FluxMergeCommand.class})
final class FluxCommand {}
