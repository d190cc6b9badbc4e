"""The layout of `chat.py` in the template language of `transformers`, saved with every tokenizer.

A test holds the two against each other.
"""

from __future__ import annotations

import json

TOOLS_INTRODUCTION = """# Tools

You may call these functions:
<tools>
"""
TOOLS_RULE = """
</tools>

To call one, write:
<tool_call>
{"name": <name>, "arguments": <object>}
</tool_call>"""

CHAT_TEMPLATE = """\
{%- macro tools_text() -%}
{{- INTRODUCTION }}
{%- for tool in tools %}{{ tool | tojson }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}
{{- RULE }}
{%- endmacro %}
{%- if tools and (not messages or messages[0].role != 'system') %}
{{- '<|im_start|>system\\n' + tools_text() + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
{{- raise_exception('unknown role: ' + message.role | string) }}
{%- endif %}
{%- set content = (message.content or '') | trim %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content | trim + '\\n</think>\\n\\n' }}
{%- endif %}
{{- content }}
{%- if message.role == 'system' and loop.first and tools %}
{{- ('\\n\\n' if content else '') + tools_text() }}
{%- endif %}
{%- if message.role == 'assistant' and message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{%- set call = tool_call.function or tool_call %}
{{- '\\n' if content or not loop.first else '' }}
{{- '<tool_call>\\n{"name": ' + call.name | tojson + ', "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
""".replace("INTRODUCTION", json.dumps(TOOLS_INTRODUCTION)).replace("RULE", json.dumps(TOOLS_RULE))
