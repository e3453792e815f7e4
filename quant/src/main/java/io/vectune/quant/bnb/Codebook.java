package io.vectune.quant.bnb;

/// The table of a 4-bit type and how values find their code.
///
/// A value is quantized to the table entry next to it; a value in the middle of two entries goes to the lower one.
/// Source bitsandbytes/functional.py get_4bit_type, backends/default/ops.py quantize_4bit
final class Codebook {
    private static final Codebook NF4 =
            new Codebook(
                    new int[] {
                        0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
                        0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000
                    },
                    new int[] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
    private static final Codebook FP4 =
            new Codebook(
                    new int[] {
                        0x00000000, 0x3baaaaab, 0x3f2aaaab, 0x3f800000, 0x3eaaaaab, 0x3f000000, 0x3e2aaaab, 0x3e800000,
                        0x00000000, 0xbbaaaaab, 0xbf2aaaab, 0xbf800000, 0xbeaaaaab, 0xbf000000, 0xbe2aaaab, 0xbe800000
                    },
                    new int[] {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3});

    private final int[] bits;
    private final int[] ascending;
    private final float[] midpoints = new float[15];

    private Codebook(int[] bits, int[] ascending) {
        this.bits = bits;
        this.ascending = ascending;
        for (int i = 0; i < midpoints.length; i++) {
            midpoints[i] = (value(ascending[i]) + value(ascending[i + 1])) / 2;
        }
    }

    static Codebook of(FourBitType type) {
        return type == FourBitType.NF4 ? NF4 : FP4;
    }

    float value(int code) {
        return Float.intBitsToFloat(bits[code]);
    }

    /// The bits of the 16 values by code. Not modified by callers.
    int[] bits() {
        return bits;
    }

    /// Codes in the order of their values. Not modified by callers.
    int[] ascending() {
        return ascending;
    }

    /// Where one code ends and the next begins, ascending. Not modified by callers.
    float[] midpoints() {
        return midpoints;
    }

    /// The code of a value in [-1, 1]: one entry up for each midpoint that lies below it.
    int code(float scaled) {
        int rank = 0;
        for (float midpoint : midpoints) {
            rank += midpoint < scaled ? 1 : 0;
        }
        return ascending[rank];
    }
}
