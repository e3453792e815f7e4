/// Chat templates: the Jinja templates that models bring along, rendered as transformers renders them.
///
/// The engine is jinjava; what it reads differently from Jinja is translated by [TemplateDialect] and its extension
/// points (docs/decisions). A template comes from a stranger: it sees its data and nothing else, no Java object, no
/// file, and its steps and output are bounded. A construct that would give other text than transformers is refused.
package io.vectune.models.chat;
