/// Continuing a text: greedy or sampled, token by token.
package io.vectune.models.generate;
