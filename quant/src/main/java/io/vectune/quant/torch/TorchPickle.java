package io.vectune.quant.torch;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import org.jspecify.annotations.Nullable;

/// Reads the pickle of a `torch.save` file that holds plain data and tensors.
///
/// An interpreter of the pickle opcodes that data needs. It executes nothing: a class or function named in the file is
/// only compared with a list of known names, and any other is refused by its name. Results are `Map<String, Object>`,
/// `List<Object>`, [Tensor], `Long`, `Double`, `Boolean`, `String`, [DType] and null.
final class TorchPickle {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.BIG_ENDIAN);

    /// What a known global may do.
    private enum Callable {
        ORDERED_DICT,
        SIZE,
        REBUILD_TENSOR,
        REBUILD_PARAMETER
    }

    /// A storage class: what a persistent id names.
    private record StorageClass(DType type) {}

    private record Storage(DType type, MemorySegment bytes) {}

    private static final Map<String, Object> GLOBALS = globals();
    private static final Object MARK = new Object();

    private final Path path;
    private final StoredZip zip;
    private final String folder;
    private final MemorySegment code;
    private final Deque<Object> stack = new ArrayDeque<>();
    private final Map<Integer, Object> memo = new HashMap<>();
    private long at;

    private TorchPickle(Path path, StoredZip zip, String folder, MemorySegment code) {
        this.path = path;
        this.zip = zip;
        this.folder = folder;
        this.code = code;
    }

    private static Map<String, Object> globals() {
        Map<String, Object> known = new HashMap<>();
        known.put("collections OrderedDict", Callable.ORDERED_DICT);
        known.put("torch Size", Callable.SIZE);
        known.put("torch._utils _rebuild_tensor_v2", Callable.REBUILD_TENSOR);
        known.put("torch._utils _rebuild_parameter", Callable.REBUILD_PARAMETER);
        known.put("torch ByteStorage", new StorageClass(DType.U8));
        known.put("torch CharStorage", new StorageClass(DType.I8));
        known.put("torch ShortStorage", new StorageClass(DType.I16));
        known.put("torch IntStorage", new StorageClass(DType.I32));
        known.put("torch LongStorage", new StorageClass(DType.I64));
        known.put("torch HalfStorage", new StorageClass(DType.F16));
        known.put("torch BFloat16Storage", new StorageClass(DType.BF16));
        known.put("torch FloatStorage", new StorageClass(DType.F32));
        known.put("torch DoubleStorage", new StorageClass(DType.F64));
        known.put("torch BoolStorage", new StorageClass(DType.BOOL));
        known.put("torch uint8", DType.U8);
        known.put("torch int8", DType.I8);
        known.put("torch int16", DType.I16);
        known.put("torch int32", DType.I32);
        known.put("torch int64", DType.I64);
        known.put("torch float16", DType.F16);
        known.put("torch bfloat16", DType.BF16);
        known.put("torch float32", DType.F32);
        known.put("torch float64", DType.F64);
        known.put("torch bool", DType.BOOL);
        return known;
    }

    /// The object of a file.
    ///
    /// @param folder the folder inside the archive that holds `data.pkl`, with its slash
    static @Nullable Object read(Path path, StoredZip zip, String folder) {
        MemorySegment code =
                zip.entry(folder + "data.pkl")
                        .orElseThrow(() -> new FileFormatException(path + ": has no data.pkl; not made by torch.save"));
        try {
            return unwrap(new TorchPickle(path, zip, folder, code).run());
        } catch (IndexOutOfBoundsException | ClassCastException | NoSuchElementException damaged) {
            throw new FileFormatException(path + ": data.pkl is damaged or not plain data", damaged);
        }
    }

    /// The stack cannot hold null: this stands for it.
    private static final Object NONE = new Object();

    private static @Nullable Object unwrap(Object value) {
        return value == NONE ? null : value;
    }

    private Object run() {
        while (true) {
            int opcode = unsignedByte();
            switch (opcode) {
                case 0x80 -> unsignedByte(); // PROTO
                case 0x95 -> at += 8; // FRAME
                case '.' -> {
                    return pop();
                }
                case '(' -> stack.push(MARK);
                case '0' -> pop();
                case 'N' -> stack.push(NONE);
                case 0x88 -> stack.push(true);
                case 0x89 -> stack.push(false);
                case 'J' -> stack.push((long) code.get(INT, advance(4)));
                case 'K' -> stack.push((long) unsignedByte());
                case 'M' -> stack.push(code.get(SHORT, advance(2)) & 0xffffL);
                case 0x8a -> stack.push(longOf(unsignedByte()));
                case 'G' -> stack.push(code.get(DOUBLE, advance(8)));
                case 'X' -> stack.push(text(code.get(INT, advance(4)) & 0xffffffffL));
                case 0x8c -> stack.push(text(unsignedByte()));
                case 'U' -> stack.push(text(unsignedByte()));
                case '}' -> stack.push(new LinkedHashMap<String, Object>());
                case ']' -> stack.push(new ArrayList<Object>());
                case ')' -> stack.push(new ArrayList<Object>());
                case 0x85 -> tuple(1);
                case 0x86 -> tuple(2);
                case 0x87 -> tuple(3);
                case 't' -> stack.push(untilMark());
                case 'a' -> {
                    Object item = pop();
                    list(stack.element()).add(item);
                }
                case 'e' -> {
                    List<Object> items = untilMark();
                    list(stack.element()).addAll(items);
                }
                case 's' -> {
                    Object value = pop();
                    Object key = pop();
                    map(stack.element()).put(name(key), value);
                }
                case 'u' -> {
                    List<Object> items = untilMark();
                    Map<String, Object> target = map(stack.element());
                    for (int i = 0; i + 1 < items.size(); i += 2) {
                        target.put(name(items.get(i)), items.get(i + 1));
                    }
                }
                case 'q' -> memo.put(unsignedByte(), stack.element());
                case 'r' -> memo.put(code.get(INT, advance(4)), stack.element());
                case 0x94 -> memo.put(memo.size(), stack.element());
                case 'h' -> stack.push(remembered(unsignedByte()));
                case 'j' -> stack.push(remembered(code.get(INT, advance(4))));
                case 'c' -> stack.push(global(line() + " " + line()));
                case 'Q' -> stack.push(storage(list(pop())));
                case 'R' -> {
                    List<Object> arguments = list(pop());
                    Object function = pop();
                    stack.push(call(function, arguments));
                }
                case 'b' -> {
                    // attributes of an OrderedDict: nothing that a tensor needs
                    pop();
                    map(stack.element());
                }
                default ->
                        throw new FileFormatException(
                                "%s: data.pkl: opcode 0x%02x is not plain data".formatted(path, opcode));
            }
        }
    }

    private String name(Object key) {
        if (key instanceof String name) {
            return name;
        }
        throw new FileFormatException(
                path + ": data.pkl: expected text as the key of a dictionary, found another value");
    }

    private Object global(String name) {
        Object known = GLOBALS.get(name);
        if (known == null) {
            throw new FileFormatException(
                    path
                            + ": data.pkl names "
                            + name.replace(' ', '.')
                            + ", which is neither plain data nor a tensor; it is not loaded");
        }
        return known;
    }

    private Object call(Object function, List<Object> arguments) {
        return switch (function) {
            case Callable.ORDERED_DICT -> new LinkedHashMap<String, Object>();
            case Callable.SIZE -> list(arguments.get(0));
            case Callable.REBUILD_TENSOR -> tensor(arguments);
            case Callable.REBUILD_PARAMETER -> (Tensor) arguments.get(0);
            default -> throw new FileFormatException(path + ": data.pkl calls something that is no function");
        };
    }

    /// ('storage', class, key, location, number of elements): where the tensor lived does not matter.
    private Storage storage(List<Object> id) {
        if (!id.get(0).equals("storage") || !(id.get(1) instanceof StorageClass(DType type))) {
            throw new FileFormatException(path + ": data.pkl: a persistent id is no storage");
        }
        String key = (String) id.get(2);
        MemorySegment bytes =
                zip.entry(folder + "data/" + key)
                        .orElseThrow(() -> new FileFormatException(path + ": storage " + key + " is missing"));
        long expected = Math.multiplyExact((long) (Long) id.get(4), (long) type.bytes());
        if (expected < 0 || expected > bytes.byteSize()) {
            throw new FileFormatException(
                    path + ": storage " + key + ": expected " + expected + " bytes, found " + bytes.byteSize());
        }
        return new Storage(type, bytes.asSlice(0, expected));
    }

    /// (storage, offset, size, stride, requires_grad, hooks, ...)
    private Tensor tensor(List<Object> arguments) {
        Storage storage = (Storage) arguments.get(0);
        long offset = (Long) arguments.get(1);
        long[] shape = longs(list(arguments.get(2)));
        long[] stride = longs(list(arguments.get(3)));
        long elements;
        try {
            elements = Tensor.elements(shape);
        } catch (IllegalArgumentException | ArithmeticException absurd) {
            throw new FileFormatException(path + ": data.pkl: a tensor has an absurd shape", absurd);
        }
        long contiguous = 1;
        for (int axis = shape.length - 1; axis >= 0; axis--) {
            if (shape[axis] != 1 && elements > 0 && stride[axis] != contiguous) {
                throw new FileFormatException(path + ": data.pkl: a tensor is not contiguous; save it contiguous");
            }
            contiguous *= shape[axis];
        }
        long bytes = storage.type.bytes();
        if (offset < 0 || offset > storage.bytes.byteSize() / bytes - elements) {
            throw new FileFormatException(path + ": data.pkl: a tensor leaves its storage");
        }
        return Tensor.of(storage.type, shape, storage.bytes.asSlice(offset * bytes, elements * bytes));
    }

    private static long[] longs(List<Object> values) {
        return values.stream().mapToLong(value -> (Long) value).toArray();
    }

    @SuppressWarnings("unchecked") // every list on the stack is one of ours
    private static List<Object> list(Object value) {
        return (List<Object>) value;
    }

    @SuppressWarnings("unchecked") // every map on the stack is one of ours
    private static Map<String, Object> map(Object value) {
        return (Map<String, Object>) value;
    }

    private void tuple(int size) {
        List<Object> items = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            items.addFirst(pop());
        }
        stack.push(items);
    }

    private List<Object> untilMark() {
        List<Object> items = new ArrayList<>();
        for (Object item = pop(); item != MARK; item = pop()) {
            items.add(item);
        }
        return new ArrayList<>(items.reversed());
    }

    private Object pop() {
        return stack.pop();
    }

    private Object remembered(int key) {
        Object value = memo.get(key);
        if (value == null) {
            throw new FileFormatException(path + ": data.pkl refers to an object that is not there");
        }
        return value;
    }

    private long advance(int bytes) {
        long from = at;
        at += bytes;
        return from;
    }

    private int unsignedByte() {
        return code.get(ValueLayout.JAVA_BYTE, advance(1)) & 0xff;
    }

    private long longOf(int bytes) {
        if (bytes > 8) {
            throw new FileFormatException(path + ": data.pkl holds an integer of more than 64 bits");
        }
        long value = 0;
        for (int i = 0; i < bytes; i++) {
            value |= (long) unsignedByte() << (8 * i);
        }
        int unused = 64 - 8 * bytes;
        return bytes == 0 ? 0 : value << unused >> unused;
    }

    private String text(long bytes) {
        byte[] text = code.asSlice(at, bytes).toArray(ValueLayout.JAVA_BYTE);
        at += bytes;
        return new String(text, StandardCharsets.UTF_8);
    }

    private String line() {
        StringBuilder line = new StringBuilder();
        for (int character = unsignedByte(); character != '\n'; character = unsignedByte()) {
            line.append((char) character);
        }
        return line.toString();
    }

    static boolean isNone(Object value) {
        return value == NONE;
    }
}
