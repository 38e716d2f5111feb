"""What a simulated model says: the last user text steers it, so that every test is deterministic. All vendors share it."""

import json
import re
import uuid
from dataclasses import dataclass, field

from .schema import fill

REASONING_TOKENS = 7
# Fresh, read from the cache, written for five minutes, written for an hour.
CACHED_USAGE = (50, 1000, 200, 300)


@dataclass
class Result:
    """The result of a tool, as the model reads it."""

    text: str
    is_error: bool = False


@dataclass
class Scene:
    """A request as the model sees it."""

    # The last text of the user, also when results of tools came after it.
    text: str = ""
    system: str = ""
    transcript: list = field(default_factory=list)
    # Schemas of the arguments by name of the tool, in the caller's order.
    tools: dict = field(default_factory=dict)
    # auto, none, required, or the name of a tool.
    choice: str = "auto"
    allowed: list | None = None
    is_parallel: bool = True
    # The results of the last turn; empty if the user spoke last.
    results: list = field(default_factory=list)
    # How many turns of results came since the user's text.
    steps: int = 0
    media: list = field(default_factory=list)
    reasons: bool = False
    output_schema: dict | None = None
    is_json: bool = False
    stop: list = field(default_factory=list)
    cap: int | None = None


@dataclass
class Usage:
    fresh: int
    output: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0
    reasoning: int = 0

    @property
    def written(self) -> int:
        return self.written_5m + self.written_1h


@dataclass
class Act:
    """The model's turn."""

    text: str = ""
    reasoning: str | None = None
    refusal: str | None = None
    # Pairs of a name and arguments.
    calls: list = field(default_factory=list)
    # stop, stop_sequence, length, filter, refusal or tools.
    finish: str = "stop"
    stopped_at: str | None = None
    # cut: the connection breaks; drop: the answer ends without its end; endless.
    fault: str | None = None
    usage: Usage | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Fault(Exception):
    """The text asked for an error of the vendor."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def perform(scene: Scene) -> Act:
    """Returns what the model says in a scene. A mark in brackets before the text only names the request in the records."""
    scene.text = re.sub(r"^\[[^]]*\]\s*", "", scene.text)
    if match := re.search(r"\bstatus (\d{3})\b", scene.text):
        raise Fault(int(match[1]))
    act = speak(scene)
    if scene.reasons:
        # Each step has its own thoughts: some SDKs drop those that they have seen before.
        act.reasoning = f"I consider{' again' * scene.steps}: {scene.text[:40]}"
    bound(act, scene)
    act.usage = usage(scene, act)
    return act


def speak(scene: Scene) -> Act:
    for word in ("cut", "drop", "endless"):
        if re.match(rf"{word}\b", scene.text):
            return Act(text="one two three four five six", fault=word)
    if calls := wanted_calls(scene):
        return Act(calls=[(name, fill(scene.tools[name])) for name in calls], finish="tools")
    if scene.results:
        return Act(text=quoted(scene.results))
    if re.match(r"refuse\b", scene.text):
        return Act(refusal="I cannot help with that.", finish="refusal")
    if re.match(r"filter\b", scene.text):
        return Act(finish="filter")
    if scene.text.startswith("stop reason length"):
        return Act(text="one two three", finish="length")
    return Act(text=reply(scene))


def wanted_calls(scene: Scene) -> list:
    names = [name for name in scene.tools if scene.allowed is None or name in scene.allowed]
    if scene.choice == "none" or not names:
        return []
    if scene.results:
        return names[:1] if "use tools twice" in scene.text and scene.steps < 2 else []
    if scene.choice not in ("auto", "required"):
        return [scene.choice]
    if "use tools" in scene.text:
        return names[:2] if scene.is_parallel else names[:1]
    return names[:1] if scene.choice == "required" else []


def quoted(results: list) -> str:
    text = "results: " + " | ".join(result.text for result in results)
    return text + " (error seen)" if any(result.is_error for result in results) else text


def reply(scene: Scene) -> str:
    if scene.media:
        return "; ".join(f"saw {medium}" for medium in scene.media)
    if scene.output_schema is not None:
        return json.dumps(fill(scene.output_schema))
    # Where the format has no JSON mode, an instruction asks for it; a model obeys.
    if scene.is_json or "JSON object" in scene.system:
        return json.dumps({"city": "Rome"})
    if scene.text.startswith("what system"):
        return f"system: {scene.system}"
    if scene.text.startswith("what history"):
        return " / ".join(f"{role}: {text}" for role, text in scene.transcript)
    match = re.search(r"echo: (.*)", scene.text, re.DOTALL)
    return match[1] if match else f"you said: {scene.text}"


def bound(act: Act, scene: Scene):
    """Ends the text at a stop sequence, or at the cap; a word is a token."""
    places = [(act.text.find(word), word) for word in scene.stop if word and word in act.text]
    if places and act.finish == "stop":
        place, word = min(places)
        act.text, act.finish, act.stopped_at = act.text[:place], "stop_sequence", word
    words = pieces(act.text)
    if scene.cap is not None and len(words) > scene.cap and act.finish in ("stop", "stop_sequence"):
        act.text, act.finish, act.stopped_at = "".join(words[: scene.cap]), "length", None


def usage(scene: Scene, act: Act) -> Usage:
    reasoning = REASONING_TOKENS if act.reasoning is not None else 0
    output = len(pieces(act.text)) + len(pieces(act.refusal or "")) + 4 * len(act.calls) + reasoning
    if "cached" in scene.text:
        fresh, read, written_5m, written_1h = CACHED_USAGE
        return Usage(fresh, output, read, written_5m, written_1h, reasoning)
    return Usage(prompt_tokens(scene), output, reasoning=reasoning)


def prompt_tokens(scene: Scene) -> int:
    texts = [scene.system, *(text for _, text in scene.transcript), *(result.text for result in scene.results)]
    return 5 + sum(len(text.split()) for text in texts)


def pieces(text: str) -> list:
    """Returns the text word by word, with the spaces."""
    return re.findall(r"\s*\S+\s*", text)


def fragments(text: str, size: int = 5) -> list:
    return [text[at : at + size] for at in range(0, len(text), size)]
