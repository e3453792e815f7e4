package io.vectune.jmh.peers;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.LimitProbe;
import io.vectune.runtime.compute.ThreadTeam;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// Does work on request, so that a script can measure it in turns with other libraries. A request is a line of JSON on
/// stdin, its answer a line on stdout:
///
/// - `{"open": ID, "threads": N, "case": ...}` makes a case ready, see [PeerCase];
/// - `{"run": ID, "seconds": S, "runs": N}` runs it for that long and at least that often: the seconds of each run;
/// - `{"write": ID, "to": FILE}` writes what the last run computed;
/// - `{"limits": N, "seconds": S}` measures the machine with N threads;
/// - `{"close": ID}`.
public final class PeerWorker implements AutoCloseable {
    private record Opened(Arena arena, ThreadTeam team, Compute compute, PeerCase work) implements AutoCloseable {
        @Override
        public void close() {
            work.close();
            compute.close();
            team.close();
            arena.close();
        }
    }

    private final JsonMapper mapper = new JsonMapper();
    private final Map<String, Opened> opened = new HashMap<>();

    private PeerWorker() {}

    /// Answers until stdin ends.
    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (PeerWorker worker = new PeerWorker();
                BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                out.println(worker.answer(line));
            }
        }
    }

    private String answer(String line) {
        ObjectNode answer = mapper.createObjectNode();
        try {
            JsonNode request = mapper.readTree(line);
            if (request.has("open")) {
                open(request);
            } else if (request.has("run")) {
                var list = answer.putArray("seconds");
                run(request).forEach(list::add);
            } else if (request.has("write")) {
                find(request.path("write").asString()).work().write(Path.of(request.path("to").asString()));
            } else if (request.has("limits")) {
                limits(request, answer);
            } else {
                find(request.path("close").asString()).close();
                opened.remove(request.path("close").asString());
            }
        } catch (RuntimeException failure) {
            answer.put("error", failure.toString());
        }
        return answer.toString();
    }

    @SuppressWarnings("MustBeClosedChecker") // closed with the case
    private void open(JsonNode request) {
        Arena arena = Arena.ofShared();
        ThreadTeam team = ThreadTeam.of(request.path("threads").asInt(1));
        Compute compute = new Compute(team);
        PeerCase work = PeerCase.open(request, compute, arena);
        opened.put(request.path("open").asString(), new Opened(arena, team, compute, work));
    }

    private List<Double> run(JsonNode request) {
        PeerCase work = find(request.path("run").asString()).work();
        double seconds = request.path("seconds").asDouble(0);
        int least = request.path("runs").asInt(1);
        List<Double> found = new ArrayList<>();
        long begin = System.nanoTime();
        while (found.size() < least || 1e-9 * (System.nanoTime() - begin) < seconds) {
            long start = System.nanoTime();
            work.run();
            found.add(1e-9 * (System.nanoTime() - start));
        }
        return found;
    }

    private static void limits(JsonNode request, ObjectNode answer) {
        long nanos = (long) (1e9 * request.path("seconds").asDouble(0.2));
        try (ThreadTeam team = ThreadTeam.of(request.path("limits").asInt(1));
                LimitProbe probe = new LimitProbe(team)) {
            answer.put("fma", probe.fmaPeak(nanos));
            answer.put("read", probe.readBandwidth(nanos));
        }
    }

    private Opened find(String id) {
        Opened found = opened.get(id);
        if (found == null) {
            throw new IllegalArgumentException("expected the id of an open case, found " + id);
        }
        return found;
    }

    @Override
    public void close() {
        opened.values().forEach(Opened::close);
    }
}
