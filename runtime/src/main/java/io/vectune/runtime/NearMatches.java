package io.vectune.runtime;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;

/// Finds the known names that a mistyped or unknown name may have meant.
public final class NearMatches {
    private static final int SHOWN = 3;

    /// Only so many candidates are compared, so that a checkpoint with very many tensors cannot make an error slow.
    private static final int COMPARED = 20_000;

    private NearMatches() {}

    /// The known names nearest to `name`, best first, at most three; empty if none is near.
    ///
    /// Near means: one ends with the other, or few edits (at most a third of the longer name) turn one into the other.
    public static List<String> of(String name, Collection<String> known) {
        record Candidate(String name, int cost) {}
        List<Candidate> candidates = new ArrayList<>();
        String wanted = name.toLowerCase(Locale.ROOT);
        int compared = 0;
        for (String candidate : known) {
            if (compared++ == COMPARED) {
                break;
            }
            String other = candidate.toLowerCase(Locale.ROOT);
            int longer = Math.max(other.length(), wanted.length());
            if (other.endsWith(wanted) || (!other.isEmpty() && wanted.endsWith(other))) {
                candidates.add(new Candidate(candidate, 0));
            } else if (3 * Math.abs(other.length() - wanted.length()) <= longer) {
                int cost = edits(wanted, other);
                if (3 * cost <= longer) {
                    candidates.add(new Candidate(candidate, cost));
                }
            }
        }
        candidates.sort(Comparator.comparingInt(Candidate::cost));
        return candidates.stream().limit(SHOWN).map(Candidate::name).toList();
    }

    /// The near matches as the end of a message: `; near matches: a, b`, or an empty string.
    public static String hint(String name, Collection<String> known) {
        List<String> near = of(name, known);
        return near.isEmpty() ? "" : "; near matches: " + String.join(", ", near);
    }

    /// Levenshtein distance, two rows of the table alive.
    private static int edits(String a, String b) {
        int[] previous = new int[b.length() + 1];
        int[] current = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            previous[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            current[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int replace = previous[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                current[j] = Math.min(replace, Math.min(previous[j], current[j - 1]) + 1);
            }
            int[] swap = previous;
            previous = current;
            current = swap;
        }
        return previous[b.length()];
    }
}
