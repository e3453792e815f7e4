/// Reproducible random numbers: the same seed gives the same start values on every machine. Not exported.
package io.vectune.adapters.random;
