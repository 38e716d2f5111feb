"""Anthropic: Messages, the counting of tokens, the list of models."""

import json
import uuid

from .anthropic_models import NAMES, Claude
from .anthropic_request import model_of, read
from .records import Signatures
from .refusal import Refusal
from .script import Act, fragments, perform, pieces, prompt_tokens
from .server import Reply
from .vendor import Vendor, sse

KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error",
}
STOPS = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "filter": "refusal", "refusal": "refusal", "tools": "tool_use"}
PING = sse({"type": "ping"}, "ping")


class Anthropic(Vendor):
    def __init__(self):
        super().__init__()
        self.signatures = Signatures("EqoBCkgIARAB")
        # By id of a call: the thinking blocks that led to it.
        self.thinking_of_calls = {}

    def authorize(self, request):
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        # With both headers the first one counts.
        if request.headers.get("x-api-key", bearer) != self.key:
            raise Refusal("invalid x-api-key", status=401)

    def route(self, request, body, entry):
        if (request.method, request.path) == ("GET", "/v1/models"):
            return Reply(200, {"data": [model(name) for name in NAMES], "has_more": False, "first_id": NAMES[0], "last_id": NAMES[-1]})
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            return Reply(200, model(model_of({"model": request.path.removeprefix("/v1/models/")}).name))
        if (request.method, request.path) == ("POST", "/v1/messages/count_tokens"):
            return Reply(200, {"input_tokens": prompt_tokens(read(self, request, body, entry))})
        if (request.method, request.path) == ("POST", "/v1/messages"):
            return self.message(body, read(self, request, body, entry), entry)
        raise Refusal("Not found", status=404)

    def message(self, body: dict, scene, entry: dict):
        act = perform(scene)
        content = self.content(body, act)
        if not body.get("stream"):
            return Reply(200, whole(body, act, content), is_cut=act.fault == "cut")
        more = sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "more "}}, "content_block_delta")
        return self.stream(list(events(body, act, content)), act, entry["text"], more)

    def content(self, body: dict, act: Act) -> list:
        blocks = []
        if act.reasoning is not None:
            claude = Claude(body["model"])
            display = (body.get("thinking") or {}).get("display") or ("summarized" if claude.shows_thinking_by_default else "omitted")
            text = act.reasoning if display == "summarized" else ""
            blocks.append({"type": "thinking", "thinking": text, "signature": self.signatures.issue((claude.name, text))})
        thoughts = list(blocks)
        if act.text:
            blocks.append({"type": "text", "text": act.text})
        for name, arguments in act.calls:
            call = f"toolu_{uuid.uuid4().hex[:24]}"
            if thoughts:
                self.thinking_of_calls[call] = thoughts
            blocks.append({"type": "tool_use", "id": call, "name": name, "input": arguments})
        return blocks

    def refused(self, refusal: Refusal) -> Reply:
        status = refusal.status
        error = {"type": KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error"), "message": refusal.message}
        return Reply(status, {"type": "error", "error": error, "request_id": f"req_{uuid.uuid4().hex}"}, {"retry-after": "7"} if status == 429 else {})


def model(name: str) -> dict:
    identity = {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"}
    return identity | {"max_input_tokens": 200000, "max_tokens": 64000}


def usage(body: dict, act: Act, is_split: bool) -> dict:
    used = act.usage
    counts = {
        "input_tokens": used.fresh,
        "cache_creation_input_tokens": used.written,
        "cache_read_input_tokens": used.read,
        "output_tokens": used.output,
    }
    if is_split:
        counts["cache_creation"] = {"ephemeral_5m_input_tokens": used.written_5m, "ephemeral_1h_input_tokens": used.written_1h}
        counts["service_tier"] = "standard"
    if Claude(body["model"]).version >= (4, 6):
        counts["output_tokens_details"] = {"thinking_tokens": used.reasoning}
    return counts


def ending(act: Act) -> dict:
    details = {"type": "refusal", "category": "cyber", "explanation": act.refusal or "It is filtered."} if STOPS[act.finish] == "refusal" else None
    return {"stop_reason": STOPS[act.finish], "stop_sequence": act.stopped_at, "stop_details": details}


def whole(body: dict, act: Act, content: list) -> dict:
    return envelope(body) | {"content": content, "usage": usage(body, act, is_split=True)} | ending(act)


def envelope(body: dict) -> dict:
    return {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": body["model"]}


def events(body: dict, act: Act, content: list):
    start = usage(body, act, is_split=True) | {"output_tokens": 1}
    start.pop("output_tokens_details", None)
    empty = envelope(body) | {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": start}
    yield sse({"type": "message_start", "message": empty}, "message_start")
    yield PING
    for index, block in enumerate(content):
        yield from block_events(index, block)
    if act.fault:
        return
    yield PING
    # The split of the cache writes stands in the first event only.
    yield sse({"type": "message_delta", "delta": ending(act), "usage": usage(body, act, is_split=False)}, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")


def block_events(index: int, block: dict):
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}[block["type"]]
    yield sse({"type": "content_block_start", "index": index, "content_block": block | empty}, "content_block_start")
    for delta in deltas(block):
        yield sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
    yield sse({"type": "content_block_stop", "index": index}, "content_block_stop")


def deltas(block: dict):
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": piece} for piece in pieces(block["text"]))
    elif block["type"] == "thinking":
        yield from ({"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"]))
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        yield {"type": "input_json_delta", "partial_json": ""}
        # An empty input sends nothing else.
        text = json.dumps(block["input"]) if block["input"] else ""
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in fragments(text))
