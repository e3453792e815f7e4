package io.vectune.models.text;

/// A token that is found in the text before anything is split.
///
/// @param id its id
/// @param content its text
/// @param singleWord whether it only counts where no word character touches it
/// @param lstrip whether it takes the white space before it along
/// @param rstrip whether it takes the white space after it along
/// @param normalized whether it is looked for in the normalized text
/// @param special whether decoding can leave it out
public record AddedToken(
        int id,
        String content,
        boolean singleWord,
        boolean lstrip,
        boolean rstrip,
        boolean normalized,
        boolean special) {
    /// A token that is matched as it is written.
    public static AddedToken plain(int id, String content, boolean special) {
        return new AddedToken(id, content, false, false, false, false, special);
    }
}
