"""What each Claude model takes, as Anthropic's documentation of thinking and of the 4.x and 5.x migrations says."""

import re

NAMES = (
    "claude-3-5-haiku-20241022", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-6", "claude-opus-4-6",
    "claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-opus-5", "claude-fable-5", "claude-fable-5-1", "claude-opus-5-5",
    "claude-sonnet-5-5", "claude-haiku-5-5",
)
NEWER = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d+)(?:-(\d{1,2}))?(?:-\d{8})?")
OLDER = re.compile(r"claude-(\d)-(\d)-(opus|sonnet|haiku)-\d{8}")


class Claude:
    """One model's rules."""

    def __init__(self, name: str):
        self.name = name
        if match := NEWER.fullmatch(name):
            self.family, self.version = match[1], (int(match[2]), int(match[3] or 0))
        else:
            match = OLDER.fullmatch(name)
            self.family, self.version = match[3], (int(match[1]), int(match[2]))

    @property
    def is_high_end(self) -> bool:
        return self.family in ("fable", "mythos")

    @property
    def thinking_types(self) -> tuple:
        if self.version < (3, 7):
            return ("disabled",)
        if self.version <= (4, 5):
            return ("enabled", "disabled")
        if self.version == (4, 6):
            return ("adaptive", "enabled", "disabled")
        if self.is_high_end or (self.family == "opus" and self.version >= (5, 5)):
            return ("adaptive",)
        if self.family == "sonnet" and self.version >= (5, 5):
            return ("adaptive", "between_tools")
        return ("adaptive", "disabled")

    @property
    def thinks_by_default(self) -> bool:
        return self.is_high_end or self.version >= (5, 0)

    @property
    def shows_thinking_by_default(self) -> bool:
        return self.version < (4, 7)

    @property
    def has_own_sampling(self) -> bool:
        """Whether it takes other sampling than the default."""
        return self.version < (4, 7)

    @property
    def has_one_sampler(self) -> bool:
        """Whether `temperature` and `top_p` exclude each other."""
        return self.version >= (4, 1)

    @property
    def allows_forced_choice(self) -> bool:
        """Whether a tool can be forced while it thinks adaptively."""
        return self.version < ((5, 1) if self.is_high_end else (5, 5))

    @property
    def binds_thinking(self) -> bool:
        """Whether a thinking block is bound to its model; a foreign one is dropped without a word."""
        return not self.allows_forced_choice

    @property
    def has_prefill(self) -> bool:
        return self.version < (4, 6)

    @property
    def has_structured_output(self) -> bool:
        return self.version >= (4, 5)

    @property
    def efforts(self) -> tuple:
        if self.version < (4, 5) or (self.version == (4, 5) and self.family != "opus"):
            return ()
        if self.version == (4, 5):
            return ("low", "medium", "high")
        return ("low", "medium", "high", "max") if self.version == (4, 6) else ("low", "medium", "high", "xhigh", "max")

    @property
    def has_system_turns(self) -> bool:
        """Whether `messages` may have the role system."""
        return self.is_high_end or self.version >= ((4, 8) if self.family == "opus" else (5, 5))
