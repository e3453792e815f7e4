/// Models made from models: linear layers quantized, or dense again with adapters folded in. The base is not changed.
package io.vectune.models.transform;
