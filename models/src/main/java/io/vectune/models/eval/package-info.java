/// How good a model is on given rows: loss, perplexity, exact match.
package io.vectune.models.eval;
