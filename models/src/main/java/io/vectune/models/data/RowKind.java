package io.vectune.models.data;

/// What a row of a .jsonl file holds.
enum RowKind {
    TEXT("text"),
    COMPLETION("prompt and completion"),
    MESSAGES("messages"),
    INPUT_IDS("input_ids");

    private final String keys;

    RowKind(String keys) {
        this.keys = keys;
    }

    @Override
    public String toString() {
        return keys;
    }
}
