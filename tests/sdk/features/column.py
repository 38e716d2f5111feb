"""One column of the table: an SDK that speaks with a provider."""

import itertools
import json
import time
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote

from drivers.base import Cannot, Wish

MARKS = itertools.count(1)
STATE_SECONDS_MAX = 5


class NotServed(Exception):
    """The gateway says that it does not have this operation, or not yet."""


@dataclass
class Column:
    driver: object
    # openai, responses, anthropic or gemini.
    provider: str
    # Names of models: for everything, for reasoning, for calls that fail, for embeddings.
    model: str
    reasoning_model: str
    failing_model: str
    embedding_model: str | None
    # The vendor's address, for its memory.
    vendor: str
    # A driver with a wrong key, and one with a key that may not ask models.
    with_wrong_key: object
    with_management_key: object | None = None
    # More models that can reason, each with rules of its own.
    more_reasoning_models: tuple = ()
    # Models of all other providers that reason.
    foreign_models: tuple = ()
    is_direct: bool = False

    @property
    def sdk(self) -> str:
        return self.driver.name

    def mark(self) -> str:
        return f"[{self.sdk}-{self.provider}-{next(MARKS)}]"

    def talk(self, text: str | None = None, model: str | None = None, media=None, **wish):
        talk = self.driver.talk(model or self.model, Wish(**wish))
        if text is not None:
            talk.user(text, **(media or {}))
        return talk

    def state(self, mark: str) -> dict:
        with urllib.request.urlopen(f"{self.vendor}/_state?mark={quote(mark)}", timeout=5) as answer:
            return json.load(answer)

    def requests(self, mark: str) -> list:
        return self.state(mark)["requests"]

    def wait_closed(self, mark: str) -> dict:
        """Waits until the vendor has seen that its client closed a stream."""
        until = time.monotonic() + STATE_SECONDS_MAX
        while time.monotonic() < until:
            streams = self.state(mark)["streams"]
            if streams and streams[-1]["closed_at"] is not None:
                return streams[-1]
            time.sleep(0.02)
        raise AssertionError(f"the provider's connection is still open after {STATE_SECONDS_MAX} s")


def first_line(error) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def equal(found, wanted, what="the answer"):
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"


__all__ = ["Cannot", "Column", "NotServed", "equal", "first_line"]
