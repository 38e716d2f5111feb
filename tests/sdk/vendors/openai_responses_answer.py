"""The answers of OpenAI's Responses: the whole response, and its events."""

import json
import time
import uuid

from .script import Act, fragments, pieces
from .vendor import sse

ECHOED = {
    "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "max_output_tokens": None,
    "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "store": False,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_logprobs": 0, "truncation": "disabled", "user": None,
}


def more(number: int) -> bytes:
    """Returns one more frame of an endless text."""
    return frame("response.output_text.delta", number, item_id="msg_1", output_index=0, content_index=0, delta="more ", logprobs=[])


def frame(kind: str, number: int, **fields) -> bytes:
    return sse({"type": kind, "sequence_number": number} | fields, kind)


def whole(vendor, body: dict, act: Act) -> dict:
    return finished(envelope(body), act, output(vendor, body, act))


def envelope(body: dict) -> dict:
    echoed = {name: body[name] if body.get(name) is not None else usual for name, usual in ECHOED.items()}
    identity = {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time()), "model": body["model"]}
    state = {"status": "in_progress", "background": False, "error": None, "incomplete_details": None, "output": [], "usage": None}
    return identity | state | echoed


def finished(response: dict, act: Act, items: list) -> dict:
    reasons = {"length": "max_output_tokens", "filter": "content_filter"}
    details = {"reason": reasons[act.finish]} if act.finish in reasons else None
    status = "incomplete" if details else "completed"
    return response | {"status": status, "incomplete_details": details, "output": items, "usage": usage(act)}


def usage(act: Act) -> dict:
    used = act.usage
    total = used.fresh + used.read
    return {
        "input_tokens": total,
        "input_tokens_details": {"cached_tokens": used.read, "cache_write_tokens": 0},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": total + used.output,
    }


def output(vendor, body: dict, act: Act) -> list:
    items, reasoning = [], None
    if act.reasoning is not None:
        reasoning = f"rs_{uuid.uuid4().hex}"
        wants_summary = (body.get("reasoning") or {}).get("summary") is not None
        summary = [{"type": "summary_text", "text": act.reasoning}] if wants_summary else []
        items.append({"id": reasoning, "type": "reasoning", "summary": summary, "encrypted_content": vendor.signatures.issue(reasoning)})
    if act.text or act.refusal:
        part = {"type": "refusal", "refusal": act.refusal} if act.refusal else {"type": "output_text", "annotations": [], "logprobs": [], "text": act.text}
        status = "incomplete" if act.finish == "length" else "completed"
        items.append({"id": f"msg_{uuid.uuid4().hex}", "type": "message", "status": status, "role": "assistant", "content": [part]})
    for name, arguments in act.calls:
        call = f"call_{uuid.uuid4().hex[:24]}"
        if reasoning is not None:
            vendor.reasoning_of_calls[call] = reasoning
        text = json.dumps(arguments)
        items.append({"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": "completed", "call_id": call, "name": name, "arguments": text})
    return items


def events(vendor, body: dict, act: Act) -> list:
    return Events(envelope(body)).all(act, output(vendor, body, act))


class Events:
    """The events of one response, with rising numbers."""

    def __init__(self, response: dict):
        self.response = response
        self.frames = []

    def add(self, kind: str, **fields):
        self.frames.append(frame(kind, len(self.frames), **fields))

    def all(self, act: Act, items: list) -> list:
        self.add("response.created", response=self.response)
        self.add("response.in_progress", response=self.response)
        for index, item in enumerate(items):
            {"reasoning": self.reasoning, "message": self.message, "function_call": self.call}[item["type"]](index, item)
        if not act.fault:
            end = finished(self.response, act, items)
            self.add(f"response.{end['status']}", response=end)
        return self.frames

    def reasoning(self, index: int, item: dict):
        # The encrypted content is whole only in the item's last event.
        self.add("response.output_item.added", output_index=index, item=item | {"summary": [], "encrypted_content": item["encrypted_content"][:8]})
        place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        for part in item["summary"]:
            self.add("response.reasoning_summary_part.added", **place, part=part | {"text": ""})
            for piece in pieces(part["text"]):
                self.add("response.reasoning_summary_text.delta", **place, delta=piece, obfuscation="q")
            self.add("response.reasoning_summary_text.done", **place, text=part["text"])
            self.add("response.reasoning_summary_part.done", **place, part=part)
        self.add("response.output_item.done", output_index=index, item=item)

    def message(self, index: int, item: dict):
        part = item["content"][0]
        is_refusal = part["type"] == "refusal"
        name, field = ("refusal", "refusal") if is_refusal else ("output_text", "text")
        logprobs = {} if is_refusal else {"logprobs": []}
        self.add("response.output_item.added", output_index=index, item=item | {"status": "in_progress", "content": []})
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        self.add("response.content_part.added", **place, part=part | {field: ""})
        for piece in pieces(part[field]):
            self.add(f"response.{name}.delta", **place, delta=piece, **logprobs)
        self.add(f"response.{name}.done", **place, **{field: part[field]}, **logprobs)
        self.add("response.content_part.done", **place, part=part)
        self.add("response.output_item.done", output_index=index, item=item)

    def call(self, index: int, item: dict):
        self.add("response.output_item.added", output_index=index, item=item | {"status": "in_progress", "arguments": ""})
        place = {"item_id": item["id"], "output_index": index}
        for piece in fragments(item["arguments"]):
            self.add("response.function_call_arguments.delta", **place, delta=piece)
        self.add("response.function_call_arguments.done", **place, arguments=item["arguments"], name=item["name"])
        self.add("response.output_item.done", output_index=index, item=item)
