package io.vectune.models.text;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/// Byte-pair encoding of one word, which is given in the byte alphabet.
///
/// Of all neighbouring symbols that have a merge, the one of lowest rank merges first, the leftmost of equals; until
/// none is left. Short words scan for it; long ones keep the candidates in a heap, so that n symbols take O(n log n),
/// whatever the text.
final class BytePairModel {
    /// Up to this many symbols a scan beats the heap.
    private static final int SCANNED = 24;

    /// Only so many words, and only short ones, are remembered.
    private static final int CACHED_WORDS = 1 << 16;

    private static final int CACHED_LENGTH = 48;

    private final Map<String, Integer> vocabulary;
    private final MergeTable merges;
    private final boolean ignoreMerges;
    private final int unknownId;
    private final boolean fuseUnknown;
    private final int[] alphabetIds;
    private final Map<String, int[]> cache = new ConcurrentHashMap<>();

    /// @param vocabulary id of each token
    /// @param merges what merges
    /// @param ignoreMerges whether a word that is a token is that token, whatever the merges say
    /// @param unknownId what stands for a character without a token; -1: nothing does
    /// @param fuseUnknown whether neighbouring unknown characters are one
    BytePairModel(
            Map<String, Integer> vocabulary,
            MergeTable merges,
            boolean ignoreMerges,
            int unknownId,
            boolean fuseUnknown) {
        this.vocabulary = new HashMap<>(vocabulary);
        this.merges = merges;
        this.ignoreMerges = ignoreMerges;
        this.unknownId = unknownId;
        this.fuseUnknown = fuseUnknown;
        this.alphabetIds = new int[ByteAlphabet.SIZE];
        for (int character = 0; character < ByteAlphabet.SIZE; character++) {
            alphabetIds[character] = vocabulary.getOrDefault(String.valueOf((char) character), -1);
        }
    }

    /// The ids of a word.
    ///
    /// @param word any text that the pre-tokenizers did not split
    /// @param mapped whether the word is in the byte alphabet already
    int[] encode(String word, boolean mapped) {
        if (word.length() > CACHED_LENGTH) {
            return merge(mapped ? word : ByteAlphabet.encode(word));
        }
        int[] known = cache.get(word);
        if (known == null) {
            known = merge(mapped ? word : ByteAlphabet.encode(word));
            if (cache.size() < CACHED_WORDS) {
                cache.put(word, known);
            }
        }
        return known;
    }

    private int[] merge(String word) {
        if (ignoreMerges) {
            Integer whole = vocabulary.get(word);
            if (whole != null) {
                return new int[] {whole};
            }
        }
        int[] symbols = new int[word.length()];
        int count = 0;
        boolean afterUnknown = false;
        for (int at = 0; at < word.length(); ) {
            int character = word.codePointAt(at);
            at += Character.charCount(character);
            int id =
                    character < ByteAlphabet.SIZE
                            ? alphabetIds[character]
                            : vocabulary.getOrDefault(Character.toString(character), -1);
            if (id >= 0) {
                symbols[count++] = id;
            } else if (unknownId >= 0 && !(afterUnknown && fuseUnknown)) {
                symbols[count++] = unknownId;
            }
            afterUnknown = id < 0;
        }
        return count <= SCANNED ? mergeByScan(symbols, count) : mergeByHeap(symbols, count);
    }

    private int[] mergeByScan(int[] symbols, int count) {
        int size = count;
        while (size > 1) {
            int best = MergeTable.NONE;
            int at = -1;
            for (int i = 0; i + 1 < size; i++) {
                int rank = merges.rank(symbols[i], symbols[i + 1]);
                if (rank < best) {
                    best = rank;
                    at = i;
                }
            }
            if (at < 0) {
                break;
            }
            symbols[at] = merges.result(symbols[at], symbols[at + 1]);
            System.arraycopy(symbols, at + 2, symbols, at + 1, size - at - 2);
            size--;
        }
        return Arrays.copyOf(symbols, size);
    }

    /// The symbols as a linked list; a merge writes into its left symbol and unlinks the right one.
    private int[] mergeByHeap(int[] symbols, int count) {
        int[] next = new int[count];
        int[] previous = new int[count];
        MergeHeap heap = new MergeHeap(count);
        for (int i = 0; i < count; i++) {
            next[i] = i + 1 < count ? i + 1 : -1;
            previous[i] = i - 1;
        }
        for (int i = 0; i + 1 < count; i++) {
            heap.push(merges.rank(symbols[i], symbols[i + 1]), i);
        }
        while (!heap.isEmpty()) {
            int rank = heap.rank();
            int left = heap.position();
            heap.pop();
            int right = symbols[left] < 0 ? -1 : next[left];
            // An entry is stale if one of its symbols has merged since: then the rank there is another.
            if (right < 0 || merges.rank(symbols[left], symbols[right]) != rank) {
                continue;
            }
            symbols[left] = merges.result(symbols[left], symbols[right]);
            symbols[right] = -1;
            next[left] = next[right];
            if (next[left] >= 0) {
                previous[next[left]] = left;
                heap.push(merges.rank(symbols[left], symbols[next[left]]), left);
            }
            if (previous[left] >= 0) {
                heap.push(merges.rank(symbols[previous[left]], symbols[left]), previous[left]);
            }
        }
        int size = 0;
        for (int i = 0; i >= 0; i = next[i]) {
            symbols[size++] = symbols[i];
        }
        return Arrays.copyOf(symbols, size);
    }

    /// A binary heap of (rank, position), smallest first, each packed into a long.
    private static final class MergeHeap {
        private long[] entries;
        private int size;

        MergeHeap(int capacity) {
            entries = new long[capacity];
        }

        boolean isEmpty() {
            return size == 0;
        }

        int rank() {
            return (int) (entries[0] >>> 32);
        }

        int position() {
            return (int) entries[0];
        }

        void push(int rank, int position) {
            if (rank == MergeTable.NONE) {
                return;
            }
            if (size == entries.length) {
                entries = Arrays.copyOf(entries, 2 * size);
            }
            long entry = ((long) rank << 32) | position;
            int at = size++;
            while (at > 0 && entries[(at - 1) / 2] > entry) {
                entries[at] = entries[(at - 1) / 2];
                at = (at - 1) / 2;
            }
            entries[at] = entry;
        }

        void pop() {
            long entry = entries[--size];
            int at = 0;
            for (int child = 1; child < size; child = 2 * at + 1) {
                if (child + 1 < size && entries[child + 1] < entries[child]) {
                    child++;
                }
                if (entries[child] >= entry) {
                    break;
                }
                entries[at] = entries[child];
                at = child;
            }
            entries[at] = entry;
        }
    }

    /// Builds the merge table.
    ///
    /// @param pairs left and right token of each merge, in the order of their ranks
    /// @throws IllegalArgumentException if a part or a result is not in the vocabulary
    static MergeTable merges(List<String[]> pairs, Map<String, Integer> vocabulary) {
        MergeTable table = new MergeTable(pairs.size());
        for (int rank = 0; rank < pairs.size(); rank++) {
            String[] pair = pairs.get(rank);
            table.put(
                    id(pair[0], rank, vocabulary),
                    id(pair[1], rank, vocabulary),
                    rank,
                    id(pair[0] + pair[1], rank, vocabulary));
        }
        return table;
    }

    private static int id(String token, int rank, Map<String, Integer> vocabulary) {
        Integer id = vocabulary.get(token);
        if (id == null) {
            throw new IllegalArgumentException(
                    "merge " + rank + " needs the token " + token + ", which is not in the vocabulary");
        }
        return id;
    }
}
