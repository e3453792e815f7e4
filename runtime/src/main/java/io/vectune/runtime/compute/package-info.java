/// Who computes, and with what: the team of threads, a session's scratch, the choice between scalar and vector kernels,
/// the limits of the machine.
///
/// A [io.vectune.runtime.compute.ThreadTeam] is shared by all sessions of a process; a
/// [io.vectune.runtime.compute.Compute] belongs to one session and is not for two threads at once. Whoever opens one
/// closes it. Nothing else in the library starts threads.
package io.vectune.runtime.compute;
