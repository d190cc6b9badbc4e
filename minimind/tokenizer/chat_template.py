"""The layout of `chat.py` in the template language of `transformers`, saved with every tokenizer.

`{% generation %}` surrounds what is trained on: there `transformers` finds the loss mask. A test holds the ids and the
mask of both against each other.
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
{{- bos_token + 'system\\n' + tools_text() + eos_token + '\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
{{- raise_exception('unknown role: ' + message.role | string) }}
{%- endif %}
{%- set content = (message.content or '') | trim %}
{%- if message.role == 'tool' %}
{{- bos_token + 'user\\n<tool_response>\\n' + content + '\\n</tool_response>' + eos_token + '\\n' }}
{%- elif message.role == 'assistant' %}
{{- bos_token + 'assistant\\n' }}
{%- generation %}
{%- if message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content | trim + '\\n</think>\\n\\n' }}
{%- endif %}
{{- content }}
{%- for tool_call in message.tool_calls or [] %}
{%- set call = tool_call.function or tool_call %}
{{- '\\n' if content or not loop.first else '' }}
{{- '<tool_call>\\n{"name": ' + call.name | tojson + ', "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- eos_token }}
{%- endgeneration %}
{{- '\\n' }}
{%- else %}
{{- bos_token + message.role + '\\n' + content }}
{%- if message.role == 'system' and loop.first and tools %}
{{- ('\\n\\n' if content else '') + tools_text() }}
{%- endif %}
{{- eos_token + '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- bos_token + 'assistant\\n' }}
{%- endif %}
""".replace("INTRODUCTION", json.dumps(TOOLS_INTRODUCTION)).replace("RULE", json.dumps(TOOLS_RULE))
