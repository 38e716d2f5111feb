"""OpenAI's Chat Completions: what it refuses, and its answers, whole and streamed."""

import json
import time
import uuid

from . import media
from .openai_rules import (SHARED_FIELDS, TIERS, check_function, check_json_word, check_known, check_output_schema, check_sampling,
                           check_tool_settings, choice_of, effort_of, is_reasoning, model_of, one_of, only, unsupported, version)
from .refusal import Refusal, expect, number, required
from .script import Act, Result, Scene, fragments, perform, pieces
from .server import Reply
from .vendor import sse

FIELDS = SHARED_FIELDS | frozenset(
    "messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens modalities n prediction"
    " presence_penalty reasoning_effort response_format seed stop verbosity web_search_options".split()
)
MESSAGE_FIELDS = {
    "system": "role content name",
    "developer": "role content name",
    "user": "role content name",
    "assistant": "role content name refusal audio function_call tool_calls annotations",
    "tool": "role content tool_call_id name",
}
PART_TYPES = {"user": ("text", "image_url", "input_audio", "file"), "assistant": ("text", "refusal")}
FINISHES = {"stop": "stop", "stop_sequence": "stop", "length": "length", "filter": "content_filter", "refusal": "stop", "tools": "tool_calls"}


def answer(vendor, body: dict, entry: dict):
    scene = read(vendor, body, entry)
    act = perform(scene)
    calls = [(f"call_{uuid.uuid4().hex[:24]}", name, json.dumps(arguments)) for name, arguments in act.calls]
    thoughts = act.reasoning if takes_thoughts(body["model"]) else None
    if thoughts is not None:
        vendor.thoughts_of_calls |= {call: thoughts for call, _, _ in calls}
    if not body.get("stream"):
        return Reply(200, whole(body, act, calls, thoughts), is_cut=act.fault == "cut")
    frames = list(chunks(body, act, calls, thoughts))
    envelope = {"id": "chatcmpl-endless", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    more = sse(envelope | {"choices": [{"index": 0, "delta": {"content": "more "}, "logprobs": None, "finish_reason": None}]})
    return vendor.stream(frames, act, entry["text"], more)


def takes_thoughts(model: str) -> bool:
    """A compatible server that shows its thoughts as `reasoning_content`, and wants them back beside tool calls."""
    return model.startswith("deepseek")


def read(vendor, body: dict, entry: dict) -> Scene:
    model = model_of(body)
    check_known(body, FIELDS | {"thinking"} if takes_thoughts(model) else FIELDS)
    effort = "none" if takes_thoughts(model) else effort_of(body.get("reasoning_effort"), model, "reasoning_effort")
    scene = Scene(reasons=takes_thoughts(model) or effort != "none")
    check_settings(body, model, effort)
    check_messages(vendor, body, scene, entry)
    check_tools(body, scene, model, effort)
    scene.output_schema, scene.is_json = output_of(body, scene)
    stop = body.get("stop") or []
    scene.stop = [stop] if isinstance(stop, str) else expect(stop, list, "stop")
    scene.cap = body.get("max_completion_tokens") or body.get("max_tokens")
    return scene


def check_settings(body: dict, model: str, effort: str):
    check_sampling(body, model, effort)
    for name in ("frequency_penalty", "presence_penalty"):
        number(body.get(name), -2, 2, name)
    if is_reasoning(model):
        hint = " Use 'max_completion_tokens' instead."
        for name in ("max_tokens", "stop", "frequency_penalty", "presence_penalty", "logit_bias"):
            if body.get(name) is not None:
                raise unsupported(name, hint if name == "max_tokens" else "")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise Refusal("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", param="max_tokens")
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and expect(body[name], int, name) < 1:
            raise Refusal(f"Invalid '{name}': integer below minimum value. Expected a value >= 1.", param=name)
    if isinstance(body.get("stop"), list) and len(body["stop"]) > 4:
        raise Refusal("Invalid 'stop': array too long. Expected an array with maximum length 4.", param="stop", code="array_above_max_length")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if body.get("service_tier") is not None:
        one_of(body["service_tier"], TIERS, "service_tier")
    if body.get("verbosity") is not None:
        one_of(body["verbosity"], ("low", "medium", "high"), "verbosity")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise Refusal("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")


def check_messages(vendor, body: dict, scene: Scene, entry: dict):
    messages = required(body, "messages", list, "")
    if not messages:
        raise Refusal("Invalid 'messages': empty array. Expected an array with minimum length 1.", param="messages", code="empty_array")
    open_calls = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = one_of(required(expect(message, dict, where), "role", str, f"{where}."), tuple(MESSAGE_FIELDS), f"{where}.role")
        check_fields(message, role, where, body["model"])
        if role == "tool":
            take_result(message, where, open_calls, scene)
            continue
        refuse_open(open_calls, where)
        texts, scene_media = contents(message, role, where)
        text = ("" if role == "assistant" else " ").join(texts)
        if role in ("system", "developer"):
            scene.system = f"{scene.system} {text}".strip()
            continue
        scene.transcript.append((role, text))
        if role == "user":
            scene.text, scene.media, scene.results, scene.steps = text, scene_media, [], 0
            entry["text"] = text
        else:
            open_calls = calls_of(message, where)
            scene.results, scene.steps = [], scene.steps + bool(open_calls)
            check_thoughts(vendor, body["model"], message, where, entry)
    refuse_open(open_calls, "messages")


def check_fields(message: dict, role: str, where: str, model: str):
    known = MESSAGE_FIELDS[role]
    if role == "assistant" and takes_thoughts(model):
        known += " reasoning_content"
    only(message, known, where)
    if role != "assistant" and message.get("content") is None:
        raise Refusal(f"Invalid value for 'content': expected a string, got null. ('{where}.content')", param=f"{where}.content")
    if role == "assistant" and not any(message.get(name) is not None for name in ("content", "tool_calls", "refusal", "function_call", "audio")):
        raise Refusal(f"Invalid value for 'content': expected a string, got null. ('{where}.content')", param=f"{where}.content")
    if message.get("tool_calls") == []:
        raise Refusal(f"Invalid '{where}.tool_calls': empty array. Expected an array with minimum length 1.", param=f"{where}.tool_calls")


def contents(message: dict, role: str, where: str):
    """Returns the texts of a message, and the descriptions of its media."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return [content or ""], []
    texts, found = [], []
    for index, part in enumerate(expect(content, list, f"{where}.content")):
        place = f"{where}.content[{index}]"
        kind = one_of(required(expect(part, dict, place), "type", str, f"{place}."), PART_TYPES.get(role, ("text",)), f"{place}.type")
        only(part, f"type prompt_cache_breakpoint {kind}", place)
        if kind in ("text", "refusal"):
            texts.append(required(part, kind, str, f"{place}."))
        else:
            found.append(medium(kind, required(part, kind, dict, f"{place}."), f"{place}.{kind}"))
    return texts, found


def medium(kind: str, fields: dict, where: str) -> str:
    if kind == "image_url":
        only(fields, "url detail", where)
        return media.picture(required(fields, "url", str, f"{where}."), f"{where}.url")
    if kind == "file":
        only(fields, "file_data file_id filename", where)
        if "file_data" in fields:
            required(fields, "filename", str, f"{where}.")
        return media.document(required(fields, "file_data", str, f"{where}."), f"{where}.file_data")
    only(fields, "data format", where)
    one_of(fields.get("format"), ("wav", "mp3"), f"{where}.format")
    return media.seen(f"audio/{fields['format']}", media.decode(required(fields, "data", str, f"{where}."), f"{where}.data"))


def calls_of(message: dict, where: str) -> list:
    """Returns the ids of a message's calls."""
    ids = []
    for index, call in enumerate(message.get("tool_calls") or []):
        place = f"{where}.tool_calls[{index}]"
        kind = one_of(required(call, "type", str, f"{place}."), ("function", "custom"), f"{place}.type")
        only(call, f"id type {kind}", place)
        inner = required(call, kind, dict, f"{place}.")
        required(inner, "name", str, f"{place}.{kind}.")
        required(inner, "arguments" if kind == "function" else "input", str, f"{place}.{kind}.")
        ids.append(required(call, "id", str, f"{place}."))
    if len(set(ids)) != len(ids):
        raise Refusal(f"Duplicate ids of tool calls in '{where}.tool_calls'.", param=f"{where}.tool_calls")
    return ids


def take_result(message: dict, where: str, open_calls: list, scene: Scene):
    call = required(message, "tool_call_id", str, f"{where}.")
    if call not in open_calls:
        raise Refusal("Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", param=f"{where}.role")
    open_calls.remove(call)
    text = " ".join(contents(message, "tool", where)[0])
    # Chat has no flag for a failed tool: the model reads it in the text.
    scene.results.append(Result(text, "error" in text.lower()))


def refuse_open(open_calls: list, where: str):
    if open_calls:
        raise Refusal("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
                      f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}", param=where)


def check_thoughts(vendor, model: str, message: dict, where: str, entry: dict):
    if not takes_thoughts(model):
        return
    for call in message.get("tool_calls") or []:
        wanted = vendor.thoughts_of_calls.get(call["id"])
        if wanted is not None and message.get("reasoning_content") != wanted:
            raise Refusal(f"The reasoning_content in the thinking mode must be passed back to the API. ({where})")
        entry["kept"] += ["exact"] if wanted is not None else []


def check_tools(body: dict, scene: Scene, model: str, effort: str):
    check_tool_settings(body)
    for index, tool in enumerate(body.get("tools") or []):
        where = f"tools[{index}]"
        kind = one_of(required(tool, "type", str, f"{where}."), ("function", "custom"), f"{where}.type")
        only(tool, f"type {kind}", where)
        inner = required(tool, kind, dict, f"{where}.")
        only(inner, "name description parameters strict" if kind == "function" else "name description format", f"{where}.{kind}")
        scene.tools[inner.get("name")] = check_function(inner, f"{where}.{kind}", inner.get("strict") is True)
    scene.choice, scene.allowed = choice_of(body.get("tool_choice"), scene.tools)
    scene.is_parallel = body.get("parallel_tool_calls") is not False
    if body.get("tools") and effort != "none" and version(model) >= 5.4:
        raise Refusal(f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. "
                      "Please use /v1/responses instead.", param="reasoning_effort", code="unsupported_parameter")


def output_of(body: dict, scene: Scene):
    """Returns the schema of the output, and whether it is any JSON."""
    fields = body.get("response_format")
    if fields is None:
        return None, False
    kind = one_of(required(fields, "type", str, "response_format."), ("text", "json_object", "json_schema"), "response_format.type")
    only(fields, "type json_schema" if kind == "json_schema" else "type", "response_format")
    if kind == "json_schema":
        return check_output_schema(required(fields, "json_schema", dict, "response_format."), "response_format.json_schema"), False
    if kind == "json_object":
        check_json_word([scene.system, *(text for _, text in scene.transcript)], "messages")
    return None, kind == "json_object"


def usage(act: Act) -> dict:
    used = act.usage
    prompt = used.fresh + used.read
    return {
        "prompt_tokens": prompt,
        "completion_tokens": used.output,
        "total_tokens": prompt + used.output,
        "prompt_tokens_details": {"cached_tokens": used.read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


def whole(body: dict, act: Act, calls: list, thoughts) -> dict:
    message = {"role": "assistant", "content": act.text or None, "refusal": act.refusal, "annotations": []}
    if thoughts is not None:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = [{"id": call, "type": "function", "function": {"name": name, "arguments": text}} for call, name, text in calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISHES[act.finish]}
    return envelope(body, "chat.completion") | {"choices": [choice], "usage": usage(act)}


def envelope(body: dict, kind: str) -> dict:
    identity = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": body["model"]}
    return identity | {"service_tier": "default", "system_fingerprint": "fp_1"}


def chunks(body: dict, act: Act, calls: list, thoughts):
    shared = envelope(body, "chat.completion.chunk")
    options = body.get("stream_options") or {}
    usage_field = {"usage": None} if options.get("include_usage") else {}
    noise = {} if options.get("include_obfuscation") is False else {"obfuscation": "Xy7"}

    def chunk(delta: dict, finish=None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse(shared | {"choices": [choice]} | usage_field | noise)

    yield chunk({"role": "assistant", "content": None if calls else "", "refusal": None})
    yield from (chunk({"reasoning_content": piece}) for piece in pieces(thoughts or ""))
    yield from (chunk({"content": piece}) for piece in pieces(act.text))
    yield from (chunk({"refusal": piece}) for piece in pieces(act.refusal or ""))
    for index, (call, name, arguments) in enumerate(calls):
        yield chunk({"tool_calls": [{"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": ""}}]})
        yield from (chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in fragments(arguments))
    if act.fault:
        # The frames up to here are halved by the caller; a fault never shows a finish.
        return
    yield chunk({}, FINISHES[act.finish])
    if options.get("include_usage"):
        yield sse(shared | {"choices": [], "usage": usage(act)} | noise)
    yield sse("[DONE]")
