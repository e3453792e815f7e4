/// What people read before a run: the trainable parameters of a set as a table.
package io.vectune.adapters.training;
