package io.vectune.models.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// The printable stand-ins for the 256 byte values in byte-level BPE vocabularies.
///
/// Printable Latin-1 characters stand for themselves; the other 68 bytes, in ascending order, are U+0100, U+0101, ...
/// So a space is `Ġ` (U+0120) and a newline `Ċ`. Source: GPT-2's encoder.
final class ByteAlphabet {
    /// All stand-ins lie below this.
    static final int SIZE = 0x100 + 68;

    private static final char[] CHARACTER_OF = new char[256];
    private static final short[] BYTE_OF = new short[SIZE];

    static {
        Arrays.fill(BYTE_OF, (short) -1);
        int next = 0x100;
        for (int value = 0; value < 256; value++) {
            boolean printable = (value >= '!' && value <= '~') || (value >= 0xa1 && value <= 0xac) || value >= 0xae;
            CHARACTER_OF[value] = (char) (printable ? value : next++);
            BYTE_OF[CHARACTER_OF[value]] = (short) value;
        }
    }

    private ByteAlphabet() {}

    /// The text's UTF-8 bytes, each as its stand-in.
    static String encode(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        char[] characters = new char[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            characters[i] = CHARACTER_OF[bytes[i] & 0xFF];
        }
        return new String(characters);
    }

    /// The bytes that a token stands for; a token with any other character (an added one) stands for its own UTF-8.
    static byte[] decode(String token) {
        byte[] bytes = new byte[token.length()];
        for (int i = 0; i < bytes.length; i++) {
            char character = token.charAt(i);
            if (character >= SIZE || BYTE_OF[character] < 0) {
                return token.getBytes(StandardCharsets.UTF_8);
            }
            bytes[i] = (byte) BYTE_OF[character];
        }
        return bytes;
    }
}
