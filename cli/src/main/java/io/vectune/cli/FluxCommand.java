package io.vectune.cli;

import picocli.CommandLine.Command;

/// `vectune flux`: commands for Flux transformers.
@Command(
        name = "flux",
        description =
                "Run and tune Flux transformers and merge adapters into them (diffusers' FluxTransformer2DModel).",
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {FluxStepCommand.class, FluxMergeCommand.class, FluxTuneCommand.class})
final class FluxCommand {}
