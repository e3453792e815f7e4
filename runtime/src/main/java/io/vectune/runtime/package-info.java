/// What all modules share: failures that say in one line what was found, expected and next, and the names that a
/// mistyped one may have meant. Everything else is in the packages below.
package io.vectune.runtime;
