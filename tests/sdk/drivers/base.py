"""The interface of the drivers. A talk is one conversation; it keeps the history in the SDK's own types."""

from dataclasses import dataclass, field


class Cannot(Exception):
    """The format, or the SDK, has no way to say this."""


class UncleanEnd(AssertionError):
    """A stream ended without an end of its answer, and the SDK raised nothing."""


class ProviderFailed(Exception):
    """An SDK hands the failure of a stream to its caller as an event, instead of raising it."""


class CodedError:
    """The error of an SDK that has one class for many statuses: the code tells them apart."""

    def __init__(self, kind, code: int):
        self.kind, self.code = kind, code
        self.__name__ = f"{kind.__name__} {code}"


@dataclass
class Call:
    id: str
    name: str
    arguments: dict


@dataclass
class Usage:
    # Everything that was read, from the cache or not.
    prompt: int = 0
    output: int = 0
    read: int = 0
    written: int = 0
    written_1h: int = 0
    reasoning: int = 0


@dataclass
class Reply:
    model: str = ""
    text: str = ""
    reasoning: str = ""
    # The pieces of text in which a stream came.
    pieces: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    # stop, length, tools, filter, or the native name.
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    # What the SDK's helper for structured output made of the text.
    parsed: object = None


@dataclass
class Wish:
    """What a request asks for beside its text."""

    system: str | None = None
    # Names and schemas of the arguments.
    tools: dict = field(default_factory=dict)
    # auto, none, required, or a tool's name.
    choice: str | None = None
    is_parallel: bool = True
    # A pydantic model for the SDK's own helper.
    schema: type | None = None
    is_json: bool = False
    reasons: bool = False
    stop: list = field(default_factory=list)
    cap: int = 4096
    temperature: float | None = None
    # Marks the system text for the cache, in the formats that have this.
    is_cached: bool = False


class Talk:
    """One conversation. A subclass has `user`, `results` and `arguments`, and reads answers into a `Reply`."""

    def __init__(self, driver, model: str, wish: Wish):
        self.driver, self.model, self.wish = driver, model, wish
        self.history = []

    def user(self, text: str, *, image=None, address=None, pdf=None):
        raise NotImplementedError

    def results(self, calls: list, texts: list, is_error=False):
        raise NotImplementedError

    def ask(self) -> Reply:
        raise NotImplementedError

    def ask_streamed(self) -> Reply:
        raise NotImplementedError
