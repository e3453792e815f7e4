/// A quick, honest measurement of this machine and of the hot paths on it: each speed beside the limit that was
/// measured just before and just after it, and beside what was recorded earlier.
package io.vectune.models.bench;
