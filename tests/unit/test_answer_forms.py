"""Answers as models and their servers really write them: a decision, or none."""

import json
from typing import Any

import pytest

from understudy.domain.simulation import Element, Observation
from understudy.models.answer import InvalidDecision, parse_answer
from understudy.models.endpoint.completion import Completion, NotACompletion

PAGE = Observation("http://shop.test/", "Shop", elements=(*(Element(n, "link", f"Link {n}") for n in (1, 2, 3)),))


def decision(element: Any = 2, thought: str = "Fine.", **more: Any) -> dict[str, Any]:
    action = {"kind": "follow", "element": element, "value": None}
    return {"thought": thought, "action": action, "sentiment": 0.5, "note": "", **more}


#: The decision, and a draft that must not become one.
GOOD, DRAFT = json.dumps(decision()), json.dumps(decision(1, "A draft."))
TEXTS: dict[str, tuple[str, bool]] = {
    # Thoughts.
    "DeepSeek: thought first": (f"<think>\nMaybe {DRAFT}\n</think>\n\n{GOOD}", True),
    "DeepSeek: the template holds the opening tag": (f"Perhaps {DRAFT}\n</think>\n{GOOD}", True),
    "Qwen: empty thought": (f"<think>\n\n</think>\n\n{GOOD}", True),
    "capitals": (f"<THINK>{DRAFT}</THINK>{GOOD}", True),
    "mixed case": (f"<Think>{DRAFT}</tHINK>{GOOD}", True),
    "thinking": (f"<thinking>{DRAFT}</thinking>{GOOD}", True),
    "attributes": (f'<think effort="high" id=1>{DRAFT}</think >{GOOD}', True),
    "nested": (f"<think>a<think>b</think>{DRAFT}</think>{GOOD}", True),
    "two openings, one end": (f"<think>\n<think>{DRAFT}</think>{GOOD}", True),
    "two thoughts": (f"<think>a</think>{DRAFT}<think>b</think>{GOOD}", True),
    "reasoning tag": (f"<reasoning>{DRAFT}</reasoning>{GOOD}", True),
    "Seed: tag with a prefix": (f"<seed:think>{DRAFT}</seed:think>{GOOD}", True),
    "Mistral: brackets": (f"[THINK]{DRAFT}[/THINK]{GOOD}", True),
    "gpt-oss: channels": (
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
        True,
    ),
    "gpt-oss: no final channel": (f"<|channel|>analysis<|message|>{DRAFT}", False),
    "unclosed thought": (f"<think>I could {DRAFT}", False),
    "unclosed thought in capitals with attributes": (f'<THINK level="2">{DRAFT} or {GOOD}', False),
    "closed, then unclosed": (f"<think>a</think><think>{DRAFT}", False),
    "unclosed in brackets": (f"[THINK]{DRAFT}", False),
    "a tag in a text of the answer": (json.dumps(decision(thought="It says </think> and <think>.")), True),
    "only a thought": (f"<think>{DRAFT}</think>", False),
    # Several objects.
    "the last of several": (f"{DRAFT}\n{GOOD}", True),
    "a draft in words": (f"First I thought {DRAFT}, but no: {GOOD} That is it.", True),
    "another object last": (f'{GOOD}\n{{"confidence": 0.9}}', True),
    "the last is truncated": (f'{DRAFT}\n{{"thought": "Better", "action": {{"kind": "follow", "ele', False),
    "a list of decisions": (f"[{DRAFT}, {GOOD}]", True),
    "the inner of a truncated one": (f'{{"thought": "x", "draft": {DRAFT}, "act', False),
    # Around the object.
    "code fence": (f"```json\n{GOOD}\n```", True),
    "code fence without a language": (f"```\n{GOOD}```", True),
    "two code fences": (f"```json\n{DRAFT}\n```\nBetter:\n```json\n{GOOD}\n```", True),
    "unclosed code fence": (f"```json\n{GOOD}", True),
    "chatty": (f"Sure! Here you go:\n\n{GOOD}\n\nAnything else?", True),
    "byte order mark": (f"\ufeff{GOOD}", True),
    "a remark in braces": (f"{{hm}} {GOOD}", True),
    "LaTeX": (f"$\\boxed{{{GOOD}}}$", True),
    "a JSON text of JSON": (json.dumps(GOOD), True),
    # Calls of tools in the text.
    "Qwen, Hermes: tool_call": (
        f'<tool_call>\n{{"name": "decision", "arguments": {GOOD}}}\n</tool_call>',
        True,
    ),
    "Llama: parameters": (f'{{"name": "decision", "parameters": {GOOD}}}', True),
    "Mistral: TOOL_CALLS": (f'[TOOL_CALLS][{{"name": "decision", "arguments": {GOOD}}}]', True),
    "arguments as a text": (json.dumps({"name": "decision", "arguments": GOOD}), True),
    "OpenAI: function in the text": (json.dumps({"type": "function", "function": {"arguments": GOOD}}), True),
    "named by the schema": (f'{{"decision": {GOOD}}}', True),
    "two wrappers": (f'{{"response": {{"decision": {GOOD}}}}}', True),
    # Slips of small models.
    "trailing commas": (GOOD.replace("}", ",}"), True),
    "Python literals": (str(decision()), True),
    "Python literals with an apostrophe": (str(decision(thought="It's fine.")), True),
    "single quotes with null": (GOOD.replace('"', "'"), True),
    "names without quotes": ("{thought: 'a', action: {kind: 'follow', element: 2}, sentiment: 0}", True),
    "curly quotes": (GOOD.replace('"thought": "Fine."', "“thought”: “Fine.”"), True),
    "a comment": (GOOD.replace('"sentiment"', '// how I feel\n"sentiment"'), True),
    "a missing comma": (GOOD.replace(', "sentiment"', ' "sentiment"'), True),
    "quotes in a text": (GOOD.replace("Fine.", 'The "best" one.'), True),
    "a raw newline in a text": (GOOD.replace("Fine.", "Fine.\nGood.\tOh."), True),
    "a raw newline and Python quotes": (GOOD.replace("Fine.", "Fine.\nGood.").replace('"', "'"), True),
    "an arithmetic float": (json.dumps(decision(2.0)), True),
    "an exponent": (GOOD.replace('"element": 2', '"element": 2e0'), True),
    "a number as a text": (json.dumps(decision("2")), True),
    "a float as a text": (json.dumps(decision("2.0")), True),
    "a number in brackets": (json.dumps(decision("[2]")), True),
    "a flat action": ('{"thought": "a", "action": "follow", "element": 2, "sentiment": 0}', True),
    "a large sentiment": (json.dumps(decision(sentiment=7)), True),
    # No decision.
    "half of an element": (json.dumps(decision(2.5)), False),
    "half of an element as a text": (json.dumps(decision("2.5")), False),
    "an element and more": (json.dumps(decision("2 or 3")), False),
    "many digits": (json.dumps(decision("2" + "0" * 40)), False),
    "NaN as the element": (json.dumps(decision(float("nan"))), False),
    "Infinity as the element": (json.dumps(decision(float("inf"))), False),
    "NaN as the sentiment": (json.dumps(decision(sentiment=float("nan"))), False),
    "minus Infinity as the sentiment": (json.dumps(decision(sentiment=float("-inf"))), False),
    "a huge number": (GOOD.replace("0.5", "1e999"), False),
    "a huge integer": (GOOD.replace("0.5", "9" * 5_000), False),
    "infinity in Python": (str(decision(sentiment=float("inf"))), False),
    "true as the element": (json.dumps(decision(True)), False),
    "an element that is not there": (json.dumps(decision(9)), False),
    "an unknown action": (GOOD.replace("follow", "fly"), False),
    "truncated": (GOOD[:-20], False),
    "truncated behind the action": (GOOD[: GOOD.index("}") + 1], False),
    "truncated Python": (str(decision())[:-20], False),
    "words": ("I would follow link 2.", False),
    "an apology": ("I'm sorry, but I can't help with that.", False),
    "nothing": ("", False),
    "an empty object": ("{}", False),
    "a list": ("[1, 2, 3]", False),
    "garbage in braces": ("{thought action follow 2 sentiment}", False),
    "words in braces": ("{I think the action is to follow 2}", False),
    "HTML": ("<html><body>{{ decision }}</body></html>", False),
    "a schema": ('{"type": "object", "properties": {"thought": {"type": "string"}, "action": {}}}', False),
    "deep": ('{"a":' * 50_000, False),
    "many remarks": ("{ x } " * 30_000, False),
    "many broken objects": ('{"a" b} ' * 20_000, False),
    "a long broken object": ('{"action" ' + '"a" b ' * 30_000 + "}", False),
}


@pytest.mark.parametrize(("text", "is_decision"), TEXTS.values(), ids=TEXTS)
def test_parse_answer_form_is_a_decision_or_none(text: str, is_decision: bool) -> None:
    if not is_decision:
        with pytest.raises(InvalidDecision):
            parse_answer(text, PAGE)
        return
    answer = parse_answer(text, PAGE)
    assert (answer.action.kind, answer.action.element) == ("follow", 2)
    assert "draft" not in answer.thought


def test_parse_answer_arithmetic_floats_become_whole_numbers() -> None:
    field = Observation("", "", elements=(Element(1, "text", "Quantity"),))
    fill = '{"thought": "a", "action": {"kind": "fill", "element": 1.0, "value": %s}, "sentiment": 0}'
    values = [parse_answer(fill % number, field).action.value for number in ("2.0", "2.5", "1e3", "3")]
    assert values == ["2", "2.5", "1000", "3"]
    question = Observation("", "", actions=("answer",))
    rated = '{"thought": "a", "action": {"kind": "answer", "value": {"ratings": {"A": 4.0, "B": 4.5}}}, "sentiment": 0}'
    assert json.dumps(parse_answer(rated, question).action.value) == '{"ratings": {"A": 4, "B": 4.5}}'


def whole(message: dict[str, Any], finish: Any = "stop", **more: Any) -> list[Any]:
    return [{"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}]


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "decision", "arguments": arguments}, **more}


def streamed(*deltas: Any) -> list[Any]:
    return [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]


HALF, REST = GOOD[:30], GOOD[30:]
#: Answers of servers, whole or in pieces.
SENT: dict[str, tuple[list[Any], bool]] = {
    "OpenAI": (whole({"role": "assistant", "content": GOOD, "refusal": None, "annotations": []}), True),
    "OpenAI: call of a tool": (whole({"content": None, "tool_calls": [called(GOOD)]}, "tool_calls"), True),
    "OpenAI: function_call": (whole({"content": None, "function_call": {"arguments": GOOD}}, "function_call"), True),
    "OpenAI: parts": (whole({"content": [{"type": "text", "text": HALF}, {"type": "text", "text": REST}]}), True),
    "OpenAI: completions": ([{"choices": [{"text": GOOD, "finish_reason": "stop"}]}], True),
    "vLLM: content null, reasoning": (whole({"content": None, "reasoning": GOOD}), True),
    "vLLM, DeepSeek, llama.cpp: reasoning_content": (whole({"content": "", "reasoning_content": GOOD}), True),
    "vLLM: both": (whole({"content": GOOD, "reasoning_content": DRAFT}), True),
    "vLLM: reasoning that is cut": (whole({"content": None, "reasoning": DRAFT}, "length"), False),
    "DeepSeek: reasoning that goes on": (whole({"content": "", "reasoning_content": f"{DRAFT} or maybe"}), False),
    "llama.cpp: no finish_reason": ([{"choices": [{"message": {"content": GOOD}}]}], True),
    "llama.cpp: empty finish_reason": (whole({"content": GOOD}, ""), True),
    "Ollama: arguments as an object": (whole({"content": "", "tool_calls": [called(decision())]}), True),
    "Ollama: own API": ([{"model": "m", "message": {"content": GOOD}, "done": True, "done_reason": "stop"}], True),
    "Ollama: own API, thinking": ([{"message": {"content": GOOD, "thinking": DRAFT}, "done": True}], True),
    "Mistral: thinking part": (
        whole({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}, {"text": GOOD}]}),
        True,
    ),
    "Mistral: words and a call": (whole({"content": "I call it.", "tool_calls": [called(GOOD, index=0)]}), True),
    "Anthropic": (
        [{"type": "message", "content": [{"type": "text", "text": GOOD}], "stop_reason": "end_turn"}],
        True,
    ),
    "Anthropic: thinking and a tool": (
        [
            {
                "content": [{"type": "thinking", "thinking": DRAFT}, {"type": "tool_use", "input": decision()}],
                "stop_reason": "tool_use",
            }
        ],
        True,
    ),
    "Qwen: tool_call in the content": (whole({"content": f'<tool_call>{{"arguments": {GOOD}}}</tool_call>'}), True),
    "draft in the content, call of a tool": (whole({"content": DRAFT, "tool_calls": [called(GOOD)]}), True),
    "stream": (streamed({"role": "assistant", "content": ""}, {"content": HALF}, {"content": REST}), True),
    "stream: first piece without delta": ([{"choices": [{"index": 0}]}, *streamed({"content": GOOD})], True),
    "stream: delta null": ([*streamed(None, {"content": GOOD})], True),
    "stream: no choices, null choices": ([{"choices": []}, {"choices": None}, *streamed({"content": GOOD})], True),
    "stream: call of a tool in pieces": (
        streamed(
            {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "decision", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": HALF}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": REST}}]},
        ),
        True,
    ),
    "stream: two calls, the last counts": (
        streamed({"tool_calls": [called(DRAFT, index=0)]}, {"tool_calls": [called(GOOD, index=1)]}),
        True,
    ),
    "stream: function_call in pieces": (
        streamed({"function_call": {"name": "d", "arguments": HALF}}, {"function_call": {"arguments": REST}}),
        True,
    ),
    "stream: reasoning, then content": (streamed({"reasoning_content": DRAFT}, {"content": GOOD}), True),
    "stream: reasoning alone": (streamed({"reasoning": HALF}, {"reasoning": REST}), True),
}


@pytest.mark.parametrize(("sent", "is_decision"), SENT.values(), ids=SENT)
def test_completion_form_is_a_decision_or_none(sent: list[Any], is_decision: bool) -> None:
    completion = Completion()
    for found in sent:
        completion.add(found)
    if is_decision:
        assert parse_answer(completion.text(), PAGE).action.element == 2
    else:
        with pytest.raises(InvalidDecision):
            parse_answer(completion.text(), PAGE)


@pytest.mark.parametrize(
    ("sent", "words", "status"),
    [
        ({"error": {"message": "No such model", "code": 404}}, "No such model 404", 404),
        ({"error": "out of memory"}, "out of memory", None),
        ({"error": {"message": "busy", "code": "rate_limited"}}, "busy rate_limited", None),
        ({"object": "error", "message": "too long", "code": 400}, "too long 400", 400),
        ({"detail": "no worker"}, "no worker", None),
        ({"message": "not ready"}, "not ready", None),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded", None),
        ({"choices": [{"error": {"message": "provider failed", "code": 502}}]}, "provider failed 502", 502),
        ([1], "", None),
        ("text", "", None),
        (None, "", None),
    ],
)
def test_completion_error_inside_a_success_keeps_its_words(sent: Any, words: str, status: int | None) -> None:
    with pytest.raises(NotACompletion) as refused:
        Completion().add(sent)
    assert (refused.value.words, refused.value.status) == (words, status)


@pytest.mark.parametrize("sent", [{}, {"choices": []}, {"choices": [{"index": 0}]}, {"choices": [3]}])
def test_completion_without_a_message_is_none(sent: Any) -> None:
    completion = Completion()
    completion.add(sent)
    with pytest.raises(NotACompletion):
        completion.text()
