package io.vectune.cli;

import picocli.CommandLine.IVersionProvider;

/// The version that `--version` prints: the jar's, or `development` when run from classes.
final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() {
        return new String[] {"vectune " + number()};
    }

    /// The version number.
    static String number() {
        String version = Version.class.getPackage().getImplementationVersion();
        return version == null ? "development" : version;
    }
}
