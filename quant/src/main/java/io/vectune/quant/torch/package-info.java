/// Files of `torch.save`: a zip archive of stored entries with one pickle, read without executing anything.
package io.vectune.quant.torch;
