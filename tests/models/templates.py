"""Chat templates that behave as public models' do, written anew for these tests, with the token that ends a turn.

What matters of each: how a turn opens and ends, what becomes of system messages, reasoning, tools and their calls.
"""

from __future__ import annotations

from typing import Any

TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

OFFER = (
    "{{ '# Tools\n' }}{% for t in tools %}{{ (t | tojson) + '\n' }}{% endfor %}{{ '<|im_end|>\n' }}"  # in a system turn
)
CALLS = (
    "{% for c in m.tool_calls or [] %}{% set f = c.function or c %}"
    "{{ '\n<tool_call>\n{\"name\": \"' + f.name + '\", \"arguments\": ' + (f.arguments | tojson) + '}\n</tool_call>' }}"
    "{% endfor %}"
)
RESULT = "{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"

QWEN25 = (  # its own system message where there is none; tools stand in the system turn
    "{{ '<|im_start|>system\n' }}"
    "{{ messages[0].content if messages[0].role == 'system' else 'You are Qwen.' }}"
    "{% if tools %}{{ '\n\n' }}" + OFFER + "{% else %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant' }}{% if m.content %}{{ '\n' + m.content }}{% endif %}" + CALLS + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + RESULT + "{% elif not (loop.first and m.role == 'system') %}" + TURN + "{% endif %}"
    "{% endfor %}" + OPEN
)
QWEN3 = (  # reasoning is shown after the last question only, where a turn without any gets an empty one
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% if tools %}{{ '<|im_start|>system\n' }}" + OFFER + "{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}{% set why = m.reasoning_content or '' %}"
    "{% if '</think>' in m.content %}"
    "{% set why = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last and (loop.last or why) %}{{ '<think>\n' + why + '\n</think>\n\n' }}{% endif %}"
    "{{ said }}" + CALLS + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + RESULT + "{% else %}" + TURN + "{% endif %}{% endfor %}" + OPEN
)
QWEN3_INSTRUCT = (  # no reasoning, no system message of its own
    "{% if tools %}{{ '<|im_start|>system\n' }}" + OFFER + "{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' + m.content }}" + CALLS + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + RESULT + "{% else %}" + TURN + "{% endif %}{% endfor %}" + OPEN
)
LLAMA3 = (  # begins with a token, trims, takes one call a turn, and calls the role of results ipython
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{% if m.tool_calls is defined %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}"
    "{% endif %}{% set f = m.tool_calls[0].function %}"
    '{{ \'<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "\' + f.name + \'", "parameters": \' }}'
    "{{ (f.arguments | tojson) + '}<|eot_id|>' }}"
    "{% else %}{{ '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) + '<|end_header_id|>\n\n' }}"
    "{{ m.content | trim }}{{ '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (  # refuses system messages and turns that do not alternate; the assistant is called model
    "{{ '<bos>' }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (m.content | trim) }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (  # no header; system message and tools stand in the last user turn; ids of calls have nine characters
    "{% set talk = messages[1:] if messages[0].role == 'system' else messages %}{% set ns = namespace(last=0) %}"
    "{% for m in talk %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ '<s>' }}"
    "{% for m in talk %}{% if m.role == 'user' %}{% if tools and loop.index0 == ns.last %}"
    "{{ '[AVAILABLE_TOOLS] ' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST] ' }}"
    "{% if loop.index0 == ns.last and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ m.content + '[/INST]' }}"
    "{% elif m.tool_calls is defined %}{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}"
    "{% if c.id is not defined or c.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    '{{ \'{"name": "\' + c.function.name + \'", "arguments": \' + (c.function.arguments | tojson) }}'
    "{{ ', \"id\": \"' + c.id + '\"}' + ('' if loop.last else ', ') }}{% endfor %}{{ ']</s>' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}"
    '{% else %}{{ \'[TOOL_RESULTS] {"content": \' + m.content + \', "call_id": "\' + m.tool_call_id }}'
    "{{ '\"}[/TOOL_RESULTS]' }}{% endif %}{% endfor %}"
)
SMOLLM2 = (  # ChatML with a system message of its own where there is none; knows no tools
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are SmolLM.<|im_end|>\n' }}{% endif %}" + TURN + "{% endfor %}" + OPEN
)
DEEPSEEK_R1 = (  # takes the reasoning out of every turn, and opens it in the generation prompt
    "{{ '<bos>' }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
    "{{ '<｜User｜>' + m.content }}{% else %}{{ '<｜Assistant｜>' + m.content.split('</think>')[-1].lstrip('\n') }}"
    "{{ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
GENTHINK = "{% for m in messages %}" + TURN + "{% endfor %}" + OPEN.replace("assistant\n", "assistant\n<think>\n")

TEMPLATES = {
    "qwen2.5": (QWEN25, "<|im_end|>"),
    "qwen3": (QWEN3, "<|im_end|>"),
    "qwen3-instruct": (QWEN3_INSTRUCT, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "mistral": (MISTRAL, "</s>"),
    "smollm2": (SMOLLM2, "<|im_end|>"),
    "deepseek-r1": (DEEPSEEK_R1, "<｜end▁of▁sentence｜>"),
    "genthink": (GENTHINK, "<|im_end|>"),
}
SPECIAL = ["<|im_start|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<bos>"]
SPECIAL += ["<s>", "[INST]", "[/INST]", "<｜User｜>", "<｜Assistant｜>"]


def tokenizer(name: str) -> Any:
    """Make a tokenizer of bytes with the template and special tokens of a family; `chatml` is rlpipe's own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from rlpipe.models.chat_template import built_in

    template, end = TEMPLATES.get(name, (None, "<|im_end|>"))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=end, additional_special_tokens=SPECIAL)
    made.chat_template = template or built_in()
    return made
