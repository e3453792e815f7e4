/// Which layers of a host get an adapter, with the meaning that PEFT gives to `target_modules` and its companions.
package io.vectune.adapters.target;
