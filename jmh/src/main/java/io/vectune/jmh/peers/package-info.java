/// The Java side of a comparison with other libraries: a process that does pieces of work when it is told to.
@NullMarked
package io.vectune.jmh.peers;

import org.jspecify.annotations.NullMarked;
