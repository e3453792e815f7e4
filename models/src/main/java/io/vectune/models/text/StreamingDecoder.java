package io.vectune.models.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// Decodes ids one at a time and only gives whole characters: the bytes of a character that several tokens share are
/// held back until the last one. The parts together are what [Tokenizer#decode] gives. Not thread-safe.
public final class StreamingDecoder {
    private final Tokenizer tokenizer;
    private final boolean skipSpecialTokens;
    private byte[] held = {};

    StreamingDecoder(Tokenizer tokenizer, boolean skipSpecialTokens) {
        this.tokenizer = tokenizer;
        this.skipSpecialTokens = skipSpecialTokens;
    }

    /// The text that this id completes; may be empty.
    public String add(int id) {
        byte[] more = tokenizer.bytes(id, skipSpecialTokens);
        byte[] all = Arrays.copyOf(held, held.length + more.length);
        System.arraycopy(more, 0, all, held.length, more.length);
        int end = all.length - unfinished(all);
        held = Arrays.copyOfRange(all, end, all.length);
        return new String(all, 0, end, StandardCharsets.UTF_8);
    }

    /// What is still held back, as U+FFFD where it is no whole character.
    public String finish() {
        String rest = new String(held, StandardCharsets.UTF_8);
        held = new byte[0];
        return rest;
    }

    /// How many bytes at the end begin a character that more bytes could complete (0 to 3).
    private static int unfinished(byte[] bytes) {
        for (int count = 1; count <= Math.min(3, bytes.length); count++) {
            int value = bytes[bytes.length - count] & 0xFF;
            if (value >= 0xC0) {
                int length = value >= 0xF0 ? 4 : value >= 0xE0 ? 3 : 2;
                return count < length && couldBecome(bytes, bytes.length - count, length) ? count : 0;
            }
            if (value < 0x80) {
                return 0;
            }
        }
        return 0;
    }

    /// Whether the last bytes are a proper beginning: U+FFFD takes the place of a beginning that can never end well.
    private static boolean couldBecome(byte[] bytes, int start, int length) {
        byte[] completed = Arrays.copyOf(Arrays.copyOfRange(bytes, start, bytes.length), length);
        int given = bytes.length - start;
        // The second byte decides; try both ends of its range for the leads that restrict it (E0, ED, F0, F4).
        for (int fill : new int[] {0x80, 0xBF}) {
            Arrays.fill(completed, given, length, (byte) fill);
            if (new String(completed, StandardCharsets.UTF_8).codePoints().noneMatch(point -> point == 0xFFFD)) {
                return true;
            }
        }
        return false;
    }
}
