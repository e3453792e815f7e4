package io.vectune.quant.torch;

import io.vectune.runtime.FileFormatException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// A file of `torch.save` that holds dictionaries of plain values and tensors.
public final class TorchFile {
    private static final String PICKLE = "data.pkl";

    private TorchFile() {}

    /// Maps a file and reads its object.
    ///
    /// @param arena owns the mapping: tensors are views of the file
    /// @return `Map<String, Object>`, `List<Object>`, `Tensor`, `Long`, `Double`, `Boolean`, `String`, `DType` or null;
    ///   a None inside a map or a list is an object for which [#isNone] is true
    /// @throws FileFormatException if the file is damaged, or names a class or function that is not plain data
    public static @Nullable Object read(Path path, Arena arena) {
        StoredZip zip = StoredZip.open(path, arena);
        String folder =
                zip.names().stream()
                        .filter(name -> name.equals(PICKLE) || name.endsWith("/" + PICKLE))
                        .findFirst()
                        .map(name -> name.substring(0, name.length() - PICKLE.length()))
                        .orElseThrow(() -> new FileFormatException(path + ": has no data.pkl; not made by torch.save"));
        zip.entry(folder + "byteorder")
                .ifPresent(entry -> {
                    String order = new String(entry.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.US_ASCII);
                    if (!order.equals("little")) {
                        throw new FileFormatException(path + ": expected byte order little, found " + order);
                    }
                });
        return TorchPickle.read(path, zip, folder);
    }

    /// Whether a value of a map or list is Python's None.
    public static boolean isNone(Object value) {
        return TorchPickle.isNone(value);
    }
}
