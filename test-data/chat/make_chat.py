"""Renders small templates with what transformers compiles chat templates with, construct by construct.

    python make_chat.py

The templates are ours; they use the constructs of the templates that published models bring along.
"""
import json
import os

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
MESSAGES = [
    {"role": "system", "content": "sys"},
    {"role": "user", "content": "  Hi there. <a> 'q' é😀 "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes", "tool_calls": None},
    {"role": "user", "content": ""},
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"x": [1, 2.5, True, None], "e": {}, "l": []}}}
CONSTRUCTS = [
    # whitespace
    "{% for m in messages %}\n  {{ m.role }} {% if loop.last %} last{% endif %} \n{% endfor %}\nend\n",
    "   {% if true %}\n  a\n   {% endif %}\nb\n\n",
    "{# c #}\n{{ 1 }}\n{%- if true -%}\n  a \n{%- endif %}\n\n b",
    "a {%- if true %} b {% endif -%} c",
    "a\n  {%+ if true %}b{% endif +%}\n c",
    "{{- 'x' -}}   y {{ 'z' -}}\n w {# c -#}  v",
    "x{% set a = 1 %}\ny {{ a }}  {% set b = 2 %}\n  {% set c = 3 %}  z",
    "{{ '{{' }}{{ '%}' }}{{ \"#}\" }}{ { }} %}",
    # values and operators
    "{{ messages[1:]|length }}{{ messages[:-1]|length }}{{ messages[-1].role }}{{ messages[0]['role'] }}",
    "{% for m in messages[::-1] %}{{ m.role }},{% endfor %}{{ messages[::-1][0].role }}",
    "{{ 'abc'[1:] }}{{ 'abc'[:-1] }}{{ 'abc'[0] }}{{ 'abc'[-1] }}",
    "{{ 'y' if x is defined else 'n' }}{{ 'y' if messages is defined else 'n' }}{{ 'y' if x is not defined else 'n' }}",
    "{% if not x is defined %}A{% else %}B{% endif %}{% if not messages is defined %}A{% else %}B{% endif %}",
    "{% if not messages[0].role == 'user' %}A{% endif %}{% if not 'q' in messages[1].content %}B{% endif %}",
    "{% if not add_generation_prompt %}A{% elif tools %}B{% else %}C{% endif %}",
    "{% if messages[0]['nothing'] %}A{% else %}B{% endif %}{% if messages[0].nothing is defined %}A{% else %}B{% endif %}",
    "{% if messages[2].tool_calls is none %}A{% endif %}{% if messages[2].tool_calls is not none %}B{% endif %}",
    "{% if (messages[0].role == 'user') != (0 % 2 == 0) %}X{% else %}Y{% endif %}",
    "{% if messages|length > 2 and messages[0].role == 'system' or false %}X{% endif %}",
    "{{ 'a' ~ 1 ~ 'b' }}{{ 'a' + 'b' }}{{ 3 // 2 }}{{ 7 % 4 }}{{ 2 * 3 + 1 }}{{ 3 / 2 }}",
    "{{ messages[1].content|trim + 'x' }}{{ (messages[1]['content'] | trim) ~ '|' }}",
    "{% if messages[0] is mapping and messages is iterable and messages[0].role is string and messages is not string %}A{% endif %}",
    "{% if 'role' in messages[0] and 'user' not in ['system'] and 'b' in 'abc' %}A{% endif %}",
    "{{ bos_token + 'x' }}{{ 'T' if True }}{{ 'N' if None is none }}{{ \"\\u00e9\" }}{{ 'it\\'s' }}{{ 'a\\nb' }}",
    # statements
    "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ ns.n }}{% if ns.found %}f{% endif %}",
    "{% set ns = namespace(multi=true, last=messages|length - 1) %}{% for m in messages[::-1] %}{% set index = (messages|length - 1) - loop.index0 %}{% if ns.multi and m.role == 'user' and not (m.content.startswith('<t>') and m.content.endswith('</t>')) %}{% set ns.multi = false %}{% set ns.last = index %}{% endif %}{% endfor %}{{ ns.last }}",
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.length }}{% if loop.first %}F{% endif %}{% if loop.last %}L{% endif %} {% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ m.role }}{{ loop.index }}{% if loop.last %}!{% endif %}{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for k in messages[0] %}{{ k }};{% endfor %}",
    "{% for k, v in messages[0]|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.index == 4 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}",
    "{% macro show(a, b='d') %}[{{ a }}-{{ b }}]{% endmacro %}{{ show(1) }}{{ show(1, b='c') }}{{ show('x')|trim }}",
    "{% set s %}q{{ 1 }}{% endset %}{{ s }}{% set a = [1, 2] + [3] %}{{ a|length }}{% set d = {'k': 'v'} %}{{ d.k }}{{ d['k'] }}",
    "{% if true %}{% set x = 'in' %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 'loop' %}{% endfor %}{{ x }}",
    "{% generation %}words{% endgeneration %}",
    # methods
    "{{ messages[1].content.strip() }}|{{ messages[1].content.lstrip() }}|{{ messages[1].content.rstrip() }}|{{ 'xxaxx'.strip('x') }}",
    "{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}|{{ messages[2].content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    "{% if messages[1].content.startswith('  Hi') and messages[1].content.endswith(' ') %}A{% endif %}{% if 'ab'.startswith(('b', 'a')) %}B{% endif %}",
    "{{ 'a b'.replace('a', 'c').upper() }}{{ 'AB'.lower() }}{{ 'ab cd'.title() if false else 'ab'.capitalize() }}{{ 'a,b,c'.split(',')|join('+') }}{{ 'a,b,c'.split(',', 1)|last }}{{ ' a  b '.split()|join('+') }}{{ 'abcb'.find('b') }}{{ 'abcb'.rfind('b') }}{{ 'abcb'.count('b') }}",
    "{{ messages[0].get('role') }}{{ messages[0].get('zz', 'd') }}{{ messages[0].keys()|list|join(',') }}{{ messages[0].values()|list|join(',') }}",
    # filters
    "{{ tools[0] | tojson }}\n{{ tools | tojson(indent=4) }}\n{{ messages[1].content | tojson }}",
    "{{ messages|map(attribute='role')|join('|') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('role', 'equalto', 'user')|list|length }}",
    "{{ '' | default('d', true) }}{{ zz | default('d') }}{{ messages|first|length }}{{ (messages|last).role }}{{ 'ab'|upper }}{{ [3,1,2]|sort|join }}{{ 5|int + '3'|int }}{{ 5|string + 'x' }}",
    "{% if messages|selectattr('role', 'equalto', 'system')|list %}A{% endif %}",
    # refusals
    "a{{ raise_exception('no ' + messages[0].role) }}b",
]


def main():
    cases = []
    for template in CONSTRUCTS:
        try:
            rendered = _compile_jinja_template(template).render(
                messages=MESSAGES, tools=[TOOL], add_generation_prompt=True, bos_token="<s>"
            )
            cases.append({"template": template, "rendered": rendered})
        except jinja2.exceptions.TemplateError as error:
            cases.append({"template": template, "error": str(error)})
    golden = {
        "script": "chat/make_chat.py",
        "versions": {"transformers": transformers.__version__, "jinja2": jinja2.__version__},
        "messages": MESSAGES,
        "tools": [TOOL],
        "cases": cases,
    }
    with open(os.path.join(HERE, "constructs.json"), "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=1, ensure_ascii=False)
        out.write("\n")


if __name__ == "__main__":
    main()
