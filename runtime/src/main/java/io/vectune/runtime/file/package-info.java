/// Files and directories that are either complete or absent, and JSON read strictly.
///
/// Everything is written beside its target and moved into place, so a reader, a crash or a full disk never meets half a
/// file. Failures are [io.vectune.runtime.VectuneException]s of one line that name the path.
package io.vectune.runtime.file;
