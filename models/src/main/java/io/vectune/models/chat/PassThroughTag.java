package io.vectune.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.tag.Tag;
import com.hubspot.jinjava.tree.Node;
import com.hubspot.jinjava.tree.TagNode;
import java.io.Serial;

/// `{% generation %}`, which marks the assistant's words for masks and adds nothing to the text.
final class PassThroughTag implements Tag {
    @Serial private static final long serialVersionUID = 1L;

    @Override
    public String getName() {
        return "generation";
    }

    @Override
    public String getEndTagName() {
        return "endgeneration";
    }

    @Override
    public String interpret(TagNode node, JinjavaInterpreter interpreter) {
        StringBuilder text = new StringBuilder();
        for (Node child : node.getChildren()) {
            text.append(child.render(interpreter).getValue());
        }
        return text.toString();
    }
}
