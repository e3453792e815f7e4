/// JMH benchmarks of the hot paths, each beside the limits of the machine measured in the same fork.
@NullMarked
package io.vectune.jmh;

import org.jspecify.annotations.NullMarked;
