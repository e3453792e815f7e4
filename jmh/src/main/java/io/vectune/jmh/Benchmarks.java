package io.vectune.jmh;

import java.io.IOException;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/// JMH's command line with this project's defaults: the gc profiler, the best operation beside the machine's limits,
/// and the incubator module in every fork.
public final class Benchmarks {
    private Benchmarks() {}

    /// @param args what JMH understands
    public static void main(String[] args) throws CommandLineOptionException, RunnerException, IOException {
        CommandLineOptions asked = new CommandLineOptions(args);
        if (asked.shouldHelp()) {
            asked.showHelp();
            return;
        }
        Options options =
                new OptionsBuilder()
                        .parent(asked)
                        .jvmArgsPrepend("--add-modules", "jdk.incubator.vector", "-Xmx4g")
                        .addProfiler(GCProfiler.class)
                        .addProfiler(BestOperation.class)
                        .build();
        Runner runner = new Runner(options);
        if (asked.shouldList()) {
            runner.list();
        } else if (asked.shouldListWithParams()) {
            runner.listWithParams(asked);
        } else {
            runner.run();
        }
    }
}
