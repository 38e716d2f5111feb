"""Requests that a vendor must refuse, each with a word of the reason, so that the simulators are known to be strict."""

import copy
import json
import urllib.error
import urllib.request

from vendors.vendor import Vendor

HEADERS = {
    "openai": {"authorization": f"Bearer {Vendor.key}"},
    "anthropic": {"x-api-key": Vendor.key, "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": Vendor.key},
}
CHAT, RESPONSES, MESSAGES = ("openai", "/v1/chat/completions"), ("openai", "/v1/responses"), ("anthropic", "/v1/messages")
GEMINI_2, GEMINI_3 = (("gemini", f"/v1beta/models/{name}:generateContent") for name in ("gemini-2.5-flash", "gemini-3.1-pro"))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"city": {"type": "string"}}}
HI = {"role": "user", "content": "hi"}

CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": LOOSE}}
CHAT_CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}
CHAT_RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
CHAT_CASES = [
    ({}, None),
    ({"top_k": 3}, "Unknown parameter: 'top_k'"),
    ({"model": "nobody"}, "does not exist"),
    ({"messages": []}, "empty array"),
    ({"messages": [{"role": "human", "content": "hi"}]}, "Invalid value: 'human'"),
    ({"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, "Invalid value: 'input_text'"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {}}]}]}, "cache_control"),
    ({"messages": [{"role": "user", "content": None}]}, "expected a string, got null"),
    ({"messages": [HI, {"role": "assistant", "content": "a", "reasoning_content": "b"}]}, "reasoning_content"),
    ({"messages": [HI, CHAT_CALL]}, "must be followed by tool messages"),
    ({"messages": [HI, CHAT_CALL, HI]}, "must be followed by tool messages"),
    ({"messages": [HI, CHAT_RESULT]}, "must be a response to a preceeding message"),
    ({"messages": [HI, CHAT_CALL, CHAT_RESULT]}, None),
    ({"temperature": 2.5}, "temperature"),
    ({"stop": list("abcde")}, "array too long"),
    ({"model": "gpt-5", "temperature": 0.5}, "Unsupported parameter: 'temperature'"),
    ({"model": "gpt-5", "max_tokens": 5}, "max_completion_tokens"),
    ({"model": "gpt-5", "max_completion_tokens": 50}, None),
    ({"reasoning_effort": "low"}, "reasoning_effort"),
    ({"model": "gpt-5.4", "reasoning_effort": "low", "tools": [CHAT_TOOL]}, "/v1/responses"),
    ({"model": "gpt-5.6", "tools": [CHAT_TOOL]}, "/v1/responses"),
    ({"model": "gpt-5.4", "tools": [CHAT_TOOL]}, None),
    ({"tool_choice": "auto"}, "only allowed when 'tools'"),
    ({"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "name": "weather"}}, "tool_choice.function"),
    ({"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "not found"),
    ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, "does not match pattern"),
    ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]}, "Invalid schema"),
    ({"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": LOOSE}}]}, "additionalProperties"),
    ({"tools": [{"type": "function", "function": {"name": "a", "strict": True, "parameters": SCHEMA}}]}, None),
    ({"tools": [{"name": "weather", "input_schema": LOOSE}]}, "tools[0].type"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": LOOSE}}}, "additionalProperties"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}]}]}, "base64"),
]

ITEM = {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}
FUNCTION_CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
RESPONSES_CASES = [
    ({}, None),
    ({"store": None}, "store"),
    ({"store": True}, "store"),
    ({"messages": [HI]}, "Unknown parameter: 'messages'"),
    ({"max_output_tokens": 5}, ">= 16"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, "Invalid value: 'text'"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "hi"}]}]}, "Invalid value: 'input_text'"),
    ({"input": [ITEM, FUNCTION_CALL]}, "No tool output found"),
    ({"input": [ITEM, OUTPUT]}, "No tool call found"),
    ({"input": [ITEM, FUNCTION_CALL, OUTPUT]}, None),
    ({"input": [ITEM, {"type": "item_reference", "id": "rs_1"}]}, "not persisted"),
    ({"input": [ITEM, {"type": "reasoning", "id": "rs_1", "summary": []}, FUNCTION_CALL, OUTPUT]}, "not persisted"),
    ({"input": [ITEM, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}]}, "could not be verified"),
    ({"previous_response_id": "resp_1"}, "not found"),
    ({"tools": [{"type": "function", "name": "weather", "parameters": LOOSE}]}, "additionalProperties"),
    ({"tools": [{"type": "function", "name": "weather", "parameters": LOOSE, "strict": False}]}, None),
    ({"tools": [CHAT_TOOL]}, "tools[0].function"),
    ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
    ({"reasoning_effort": "low"}, "Unknown parameter"),
    ({"stop": ["a"]}, "Unknown parameter"),
    ({"text": {"format": {"type": "json_schema", "json_schema": {}}}}, "Unknown parameter"),
]

USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
TEXT = {"type": "text", "text": "hi"}
CLAUDE_TOOL = {"name": "weather", "input_schema": LOOSE}
ENABLED = {"type": "enabled", "budget_tokens": 1024}
EPHEMERAL = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
MESSAGES_CASES = [
    ({}, None),
    ({"max_tokens": None}, "max_tokens: "),
    ({"n": 1}, "n: Extra inputs"),
    ({"model": "claude-nobody"}, "claude-nobody"),
    ({"messages": []}, "at least one message"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "must use the"),
    ({"messages": [{"role": "system", "content": "hi"}, HI]}, "Unexpected role"),
    ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "non-whitespace"),
    ({"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, "input_text"),
    ({"messages": [{"role": "user", "content": "hi", "name": "bob"}]}, "name: Extra"),
    ({"messages": [HI, USE]}, "without `tool_result`"),
    ({"messages": [HI, USE, HI]}, "without `tool_result`"),
    ({"messages": [HI, USE, {"role": "user", "content": [TEXT, TOOL_RESULT]}]}, "must come first"),
    ({"messages": [HI, USE, {"role": "user", "content": [TOOL_RESULT, TEXT]}]}, None),
    ({"messages": [HI, USE, {"role": "user", "content": [TOOL_RESULT]}, {"role": "user", "content": [TEXT]}]}, None),
    ({"messages": [HI, {"role": "assistant", "content": "so"}, {"role": "user", "content": [TOOL_RESULT]}]}, "unexpected `tool_use_id`"),
    ({"messages": [HI, {"role": "assistant", "content": "so"}]}, "prefill"),
    ({"messages": [HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": "b"}, TEXT]}, HI]}, "signature"),
    ({"temperature": 1.5}, "range: 0..1"),
    ({"temperature": 0.5, "top_p": 0.5}, "cannot both"),
    ({"temperature": 0.5}, None),
    ({"model": "claude-opus-4-7", "temperature": 0.5}, "default"),
    ({"model": "claude-opus-4-7", "thinking": ENABLED}, "thinking.type.enabled"),
    ({"model": "claude-opus-4-5", "thinking": {"type": "adaptive"}}, "thinking.type.adaptive"),
    ({"model": "claude-opus-5-5", "thinking": {"type": "disabled"}}, "thinking.type.disabled"),
    ({"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}}, "thinking.type.disabled"),
    ({"model": "claude-sonnet-5-5", "thinking": {"type": "between_tools"}}, None),
    ({"model": "claude-sonnet-5-5", "thinking": {"type": "between_tools"}, "output_config": {"effort": "max"}}, "not supported with effort"),
    ({"thinking": ENABLED}, "must be greater than"),
    ({"thinking": ENABLED | {"budget_tokens": 100}}, "1024"),
    ({"max_tokens": 2000, "thinking": ENABLED, "temperature": 0.5}, "only be set to 1"),
    ({"max_tokens": 2000, "thinking": ENABLED}, None),
    ({"max_tokens": 2000, "thinking": ENABLED, "tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
    ({"thinking": {"type": "adaptive"}, "tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}, None),
    ({"model": "claude-opus-5-5", "tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
    ({"tools": [CLAUDE_TOOL, CLAUDE_TOOL]}, "unique"),
    ({"tools": [{"name": "a.b", "input_schema": LOOSE}]}, "pattern"),
    ({"tools": [{"name": "a"}]}, "input_schema: Field required"),
    ({"tools": [CLAUDE_TOOL | {"strict": True}]}, "additionalProperties"),
    ({"tool_choice": {"type": "auto"}}, "while providing tools"),
    ({"tools": [CLAUDE_TOOL], "tool_choice": "auto"}, "tool_choice"),
    ({"output_config": {"format": {"type": "json_schema", "schema": LOOSE}}}, "additionalProperties"),
    ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA | {"properties": {"city": {"type": "string", "maxLength": 3}}}}}}, "maxLength"),
    ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, None),
    ({"system": [EPHEMERAL] * 4, "messages": [{"role": "user", "content": [EPHEMERAL]}]}, "maximum of 4"),
    ({"system": ""}, None),
    ({"stop_sequences": [" "]}, "non-whitespace"),
]

USER, ASK = {"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]}
ANSWER = {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "sunny"}}}]}
SKIPPED = {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"}]}
FORGED = {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "Zm9yZ2Vk"}]}


def declared(**fields) -> dict:
    return {"tools": [{"functionDeclarations": [{"name": "weather"} | fields]}]}


GEMINI_CASES = [
    (GEMINI_2, {}, None),
    (GEMINI_2, {"messages": []}, 'Unknown name \\"messages\\"'),
    (GEMINI_2, {"contents": []}, "contents is not specified"),
    (GEMINI_2, {"contents": [{"role": "assistant", "parts": [{"text": "hi"}]}]}, "valid role"),
    (GEMINI_2, {"contents": [{"role": "user", "parts": []}]}, "must not be empty"),
    (GEMINI_2, {"contents": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}, "Unknown name"),
    (GEMINI_2, {"contents": [{"role": "user", "parts": [{"thought": True}]}]}, "oneof field"),
    (GEMINI_2, {"contents": [USER, ASK]}, "number of function response parts"),
    (GEMINI_2, {"contents": [USER, ASK, USER]}, "number of function response parts"),
    (GEMINI_2, {"contents": [USER, ASK, {"role": "user", "parts": ANSWER["parts"] * 2}]}, "number of function response parts"),
    (GEMINI_2, {"contents": [USER, ANSWER]}, "immediately after a function call turn"),
    (GEMINI_2, {"contents": [ASK, ANSWER]}, "immediately after a user turn"),
    (GEMINI_2, {"contents": [USER, ASK, ANSWER]}, None),
    (GEMINI_3, {"contents": [USER, ASK, ANSWER]}, "missing a thought_signature"),
    (GEMINI_3, {"contents": [USER, FORGED, ANSWER]}, "Corrupted"),
    (GEMINI_3, {"contents": [USER, SKIPPED, ANSWER]}, None),
    (GEMINI_3, {"contents": [USER, ASK, ANSWER, {"role": "model", "parts": [{"text": "so"}]}, USER]}, None),
    (GEMINI_2, {"generationConfig": {"maxTokens": 5}}, "maxTokens"),
    (GEMINI_2, {"generation_config": {"max_output_tokens": 5}}, None),
    (GEMINI_2, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, "Thinking level"),
    (GEMINI_3, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}, None),
    (GEMINI_3, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "thinkingBudget": 5}}}, "only set only one"),
    (GEMINI_2, {"generationConfig": {"stopSequences": list("abcdef")}}, "at most 5"),
    (GEMINI_2, {"generationConfig": {"responseSchema": {"type": "STRING"}}}, "response_mime_type"),
    (GEMINI_2, declared(parameters=SCHEMA), "additionalProperties"),
    (GEMINI_2, declared(parameters={"type": "object", "properties": {"a": {"type": ["string", "null"]}}}), "Invalid value"),
    (GEMINI_2, declared(parameters={"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}), "$ref"),
    (GEMINI_2, declared(parameters=LOOSE), None),
    (GEMINI_2, declared(parametersJsonSchema=SCHEMA), None),
    (GEMINI_2, declared(parameters=LOOSE, parametersJsonSchema=SCHEMA), "only one of"),
    (GEMINI_2, declared(name="1st"), "Invalid function name"),
    (GEMINI_2, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    (GEMINI_2, declared() | {"toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["weather"]}}}, "allowed_function_names"),
]

BODIES = {
    CHAT: {"model": "gpt-4.1", "messages": [HI]},
    RESPONSES: {"model": "gpt-4.1", "input": "hi", "store": False},
    MESSAGES: {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [HI]},
    GEMINI_2: {"contents": [USER]},
    GEMINI_3: {"contents": [USER]},
}


def post(addresses: dict, place, body: dict, headers=None):
    """Returns the status and the text of an answer."""
    vendor, path = place
    request = urllib.request.Request(addresses[vendor] + path, json.dumps(body).encode(), {"content-type": "application/json", **(headers or HEADERS[vendor])})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def check_refusals(addresses: dict) -> bool:
    """Returns whether every vendor refuses what it must, and takes what it must."""
    cases = [(place, *case) for place, listed in ((CHAT, CHAT_CASES), (RESPONSES, RESPONSES_CASES), (MESSAGES, MESSAGES_CASES)) for case in listed]
    problems = [problem for place, change, reason in cases + GEMINI_CASES if (problem := check(addresses, place, change, reason))]
    problems += [problem for check_more in (credentials, kept_thinking, kept_reasoning, kept_signature) if (problem := check_more(addresses))]
    print("\n".join(problems) or f"ok  {len(cases) + len(GEMINI_CASES)} requests are refused or taken as they must be")
    return not problems


def check(addresses: dict, place, change: dict, reason: str | None) -> str | None:
    body = copy.deepcopy(BODIES[place]) | change
    status, text = post(addresses, place, {name: value for name, value in body.items() if value is not None or name == "store"})
    if reason is None:
        return None if status == 200 else f"FAIL {place} {change}: it is refused with {status}: {text}"
    return None if status in (400, 404) and reason in text else f"FAIL {place} {change}: status {status} without {reason!r}: {text[:200]}"


def credentials(addresses: dict) -> str | None:
    for place, headers, wanted in (
        (CHAT, {"x-api-key": Vendor.key}, 401),
        (MESSAGES, {"authorization": f"Bearer {Vendor.key}", "anthropic-version": "2026-10-21"}, 200),
        (MESSAGES, {"authorization": f"Bearer {Vendor.key}", "x-api-key": "wrong", "anthropic-version": "2023-06-01"}, 401),
        (MESSAGES, {"x-api-key": Vendor.key}, 400),
        (GEMINI_2, {"x-goog-api-key": "wrong"}, 400),
        (GEMINI_2, {"authorization": f"Bearer {Vendor.key}"}, 403),
    ):
        status, text = post(addresses, place, BODIES[place], headers)
        if status != wanted:
            return f"FAIL credentials {headers} at {place}: {status}, not {wanted}: {text}"
    return None


def kept_thinking(addresses: dict) -> str | None:
    """Thinking of a tool loop that is altered, or lost, is refused."""
    body = {"model": "claude-sonnet-4-6", "max_tokens": 2000, "thinking": {"type": "adaptive"}, "tools": [CLAUDE_TOOL]}
    ask = {"role": "user", "content": "use tools"}
    said = json.loads(post(addresses, MESSAGES, body | {"messages": [ask]})[1])["content"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": said[-1]["id"], "content": "x"}]}
    altered = [said[0] | {"thinking": "other"}, *said[1:]]
    for content, wanted in ((said, 200), (said[1:], 400), (altered, 400)):
        status, text = post(addresses, MESSAGES, body | {"messages": [ask, {"role": "assistant", "content": content}, result]})
        if status != wanted:
            return f"FAIL thinking in a loop: {status}, not {wanted}: {text}"
    return None


def kept_reasoning(addresses: dict) -> str | None:
    """A call without the reasoning item that led to it is refused."""
    tool = {"type": "function", "name": "weather", "parameters": LOOSE, "strict": False}
    body = {"model": "gpt-5.4", "store": False, "reasoning": {"effort": "low"}, "tools": [tool]}
    ask = {"role": "user", "content": "use tools"}
    said = json.loads(post(addresses, RESPONSES, body | {"input": [ask]})[1])["output"]
    result = {"type": "function_call_output", "call_id": said[-1]["call_id"], "output": "x"}
    cut = [said[0] | {"encrypted_content": said[0]["encrypted_content"][:8]}, *said[1:]]
    for items, wanted in ((said, 200), (said[1:], 400), (cut, 400)):
        status, text = post(addresses, RESPONSES, body | {"input": [ask, *items, result]})
        if status != wanted:
            return f"FAIL reasoning before a call: {status}, not {wanted}: {text}"
    return None


def kept_signature(addresses: dict) -> str | None:
    """A signature on another call than its own is refused."""
    body = declared(parameters=LOOSE)
    ask = {"role": "user", "parts": [{"text": "use tools"}]}
    said = json.loads(post(addresses, GEMINI_3, body | {"contents": [ask]})[1])["candidates"][0]["content"]
    moved = copy.deepcopy(said)
    moved["parts"][0]["functionCall"]["args"] = {"city": "Paris"}
    for content, wanted in ((said, 200), (moved, 400)):
        status, text = post(addresses, GEMINI_3, body | {"contents": [ask, content, ANSWER]})
        if status != wanted:
            return f"FAIL a signature: {status}, not {wanted}: {text}"
    return None
