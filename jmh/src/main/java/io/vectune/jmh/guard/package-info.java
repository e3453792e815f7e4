/// A guard against slower hot paths, for continuous integration: runs chosen benchmarks in forks, compares their share
/// of the machine's limits with recorded shares, and says which one fell behind. Knows JMH and a JSON file, no kernel.
@NullMarked
package io.vectune.jmh.guard;

import org.jspecify.annotations.NullMarked;
