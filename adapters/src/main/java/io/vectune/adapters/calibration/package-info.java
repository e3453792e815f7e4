/// Start values from data: a host runs over calibration rows with a recorder in its layers, which keeps second moments
/// or a sample of their inputs; EVA makes ranks and directions of them.
package io.vectune.adapters.calibration;
