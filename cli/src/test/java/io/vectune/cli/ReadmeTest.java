package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/// What the README promises: its library example compiles and runs, its table names every command.
class ReadmeTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final Path README = TEST_DATA.resolveSibling("README.md");
    private static final Pattern EXAMPLE = Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL);
    private static final Pattern IMPORTS = Pattern.compile("(?m)^import .*;\\n");

    @TempDir private Path directory;

    @Test
    void theLibraryExampleRuns() throws Exception {
        Matcher block = EXAMPLE.matcher(Files.readString(README));
        assertThat(block.find()).isTrue();
        String example = block.group(1);
        StringBuilder imports = new StringBuilder();
        IMPORTS.matcher(example).results().forEach(line -> imports.append(line.group()));
        assertThat(imports.toString()).isNotEmpty();
        String body =
                IMPORTS.matcher(example)
                        .replaceAll("")
                        .replace("Path.of(\"model\")", "Path.of(System.getProperty(\"readme.model\"))");
        Path source =
                Files.writeString(
                        directory.resolve("Example.java"),
                        imports
                                + "public class Example { public static void main(String[] args) throws Exception {\n"
                                + body
                                + "}}\n");
        assertThat(compile(source)).as("compiler messages").isEmpty();
        assertThat(run()).isNotBlank();
    }

    private String compile(Path source) {
        ByteArrayOutputStream messages = new ByteArrayOutputStream();
        String classes =
                System.getProperty("java.class.path") + File.pathSeparator + System.getProperty("jdk.module.path", "");
        List<String> arguments = List.of("-proc:none", "-cp", classes, "-d", directory.toString(), source.toString());
        ToolProvider.getSystemJavaCompiler().run(null, null, messages, arguments.toArray(String[]::new));
        return messages.toString(StandardCharsets.UTF_8);
    }

    private String run() throws Exception {
        PrintStream console = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setProperty("readme.model", TEST_DATA.resolve("tiny-llama").toString());
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try (URLClassLoader loader = new URLClassLoader(new URL[] {directory.toUri().toURL()})) {
            loader.loadClass("Example").getMethod("main", String[].class).invoke(null, (Object) new String[0]);
        } finally {
            System.setOut(console);
            System.clearProperty("readme.model");
        }
        return printed.toString(StandardCharsets.UTF_8);
    }

    @Test
    void theTableNamesEveryCommand() throws IOException {
        String readme = Files.readString(README);
        for (String command : Vectune.commandLine().getSubcommands().keySet()) {
            CommandLine.Model.CommandSpec spec = Vectune.commandLine().getSubcommands().get(command).getCommandSpec();
            if (!command.equals("help") && !spec.usageMessage().hidden()) {
                assertThat(readme).contains("`" + command);
            }
        }
    }
}
