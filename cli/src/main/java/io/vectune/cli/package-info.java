/// The `vectune` command: one class a subcommand, options and printing only; the work is done by the library modules.
@NullMarked
package io.vectune.cli;

import org.jspecify.annotations.NullMarked;
