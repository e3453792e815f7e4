package io.vectune.models.chat;

import com.hubspot.jinjava.interpret.InterpretException;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.tag.ForTag;
import com.hubspot.jinjava.tree.TagNode;
import com.hubspot.jinjava.util.ForLoop;
import com.hubspot.jinjava.util.ObjectIterator;
import com.hubspot.jinjava.util.ObjectTruthValue;
import java.io.Serial;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Jinja's `for x in items if condition`, which the library lacks: the loop runs over the items that pass.
final class ConditionalForTag extends ForTag {
    @Serial private static final long serialVersionUID = 1L;

    private static final Pattern CONDITION =
            Pattern.compile("^\\s*([\\w,\\s]+?)\\s+in\\s+(.+?)\\s+if\\s+((?:(?!\\selse\\s).)+)$", Pattern.DOTALL);

    @Override
    public String interpretUnchecked(TagNode node, JinjavaInterpreter interpreter) {
        if (node.getChildren().stream().anyMatch(child -> "else".equals(child.getName()))) {
            throw new InterpretException("for with else is not supported", node.getLineNumber());
        }
        Matcher parts = CONDITION.matcher(node.getHelpers());
        if (!parts.matches()) {
            return super.interpretUnchecked(node, interpreter);
        }
        List<String> names = List.of(parts.group(1).strip().split("\\s*,\\s*"));
        ForLoop items = ObjectIterator.getLoop(interpreter.resolveELExpression(parts.group(2), node.getLineNumber()));
        List<Object> kept = new ArrayList<>();
        while (items.hasNext()) {
            Object item = items.next();
            interpreter.enterScope();
            try {
                for (int i = 0; i < names.size(); i++) {
                    interpreter.getContext().put(names.get(i), names.size() == 1 ? item : part(item, i));
                }
                if (ObjectTruthValue.evaluate(interpreter.resolveELExpression(parts.group(3), node.getLineNumber()))) {
                    kept.add(item);
                }
            } finally {
                interpreter.leaveScope();
            }
        }
        return renderForCollection(node, interpreter, names, kept);
    }

    private static Object part(Object item, int index) {
        if (item instanceof List<?> list && index < list.size()) {
            return list.get(index);
        }
        throw new InterpretException("cannot unpack an item of the loop");
    }
}
