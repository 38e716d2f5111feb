"""Anthropic's rules of a conversation: roles, blocks, pairs of tool use and result, thinking that must come back."""

import re

from . import media
from .anthropic_models import Claude
from .refusal import Refusal, expect, unknown
from .script import Result, Scene

BLOCK_FIELDS = {
    "text": "type text cache_control citations",
    "image": "type source cache_control",
    "document": "type source title context citations cache_control",
    "search_result": "type source title content citations cache_control",
    "tool_use": "type id name input cache_control caller toolset_name",
    "tool_result": "type tool_use_id content is_error cache_control",
    "thinking": "type thinking signature",
    "redacted_thinking": "type data",
}
USER_BLOCKS = ("text", "image", "document", "search_result", "tool_result")
ASSISTANT_BLOCKS = ("text", "tool_use", "thinking", "redacted_thinking")
RESULT_BLOCKS = ("text", "image", "document", "search_result")
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,200}")


class Turns:
    """One walk through the messages."""

    def __init__(self, vendor, claude: Claude, thinking: str, is_newest_version: bool, scene: Scene, entry: dict):
        self.vendor, self.claude, self.thinking, self.scene, self.entry = vendor, claude, thinking, scene, entry
        self.is_newest_version = is_newest_version
        self.thinks = thinking in ("enabled", "adaptive")
        # Ids of the calls that the next user turn must answer.
        self.open_calls = []
        self.loop = []

    def take_all(self, messages: list):
        if not messages:
            raise Refusal("messages: at least one message is required")
        turns = self.merged(messages)
        if turns[0][0] != "user":
            raise Refusal("messages: first message must use the \"user\" role")
        for index, (role, blocks) in enumerate(turns):
            is_last = index == len(turns) - 1
            if role == "user":
                self.take_user(blocks, f"messages.{index}.content")
            else:
                self.take_assistant(blocks, f"messages.{index}.content", is_last)
        self.refuse_open()
        self.check_loop()

    def merged(self, messages: list) -> list:
        """Returns roles and blocks, with neighbours of one role in one turn, as the API reads them."""
        turns = []
        for index, message in enumerate(messages):
            where = f"messages.{index}"
            if (name := unknown(expect(message, dict, where), ("role", "content"))) is not None:
                raise Refusal(f"{where}.{name}: Extra inputs are not permitted")
            role = message.get("role")
            if role == "system" and self.claude.has_system_turns and turns and turns[-1][0] == "user":
                self.scene.system = f"{self.scene.system} {message['content']}".strip()
                continue
            if role not in ("user", "assistant"):
                raise Refusal(f"messages: Unexpected role {role!r}. Allowed roles are \"user\" or \"assistant\".")
            blocks = self.blocks(message, where, is_last=index == len(messages) - 1)
            if turns and turns[-1][0] == role:
                turns[-1][1].extend(blocks)
            else:
                turns.append((role, blocks))
        return turns

    def blocks(self, message: dict, where: str, is_last: bool) -> list:
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        content = expect(content, list, f"{where}.content")
        if not content and not (is_last and message["role"] == "assistant"):
            raise Refusal(f"{where}: all messages must have non-empty content except for the optional final assistant message")
        known = USER_BLOCKS if message["role"] == "user" else ASSISTANT_BLOCKS
        for index, block in enumerate(content):
            self.check_block(block, known, f"{where}.content.{index}")
        return list(content)

    def check_block(self, block: dict, known, where: str):
        kind = expect(block, dict, where).get("type")
        if kind not in known:
            raise Refusal(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {', '.join(known)}")
        if (name := unknown(block, BLOCK_FIELDS[kind].split())) is not None:
            raise Refusal(f"{where}.{kind}.{name}: Extra inputs are not permitted")
        if kind == "text":
            if not isinstance(block.get("text"), str) or block["text"] == "":
                raise Refusal("messages: text content blocks must be non-empty")
            if not block["text"].strip():
                raise Refusal("messages: text content blocks must contain non-whitespace text")
            if block.get("citations") and self.is_newest_version:
                raise Refusal(f"{where}.text.citations: not supported by this anthropic-version")

    def take_user(self, blocks: list, where: str):
        results = [block for block in blocks if block["type"] == "tool_result"]
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            raise Refusal(f"{where}: `tool_result` blocks must come first in a user turn")
        taken = [self.result(block, f"{where}.{index}") for index, block in enumerate(results)]
        self.refuse_open()
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        found = [self.medium(block, where) for block in blocks if block["type"] in ("image", "document")]
        if len(results) == len(blocks):
            self.scene.results, self.scene.steps = taken, self.scene.steps + 1
            return
        self.loop = []
        self.scene.text, self.scene.media, self.scene.results, self.scene.steps = " ".join(texts), found, [], 0
        self.scene.transcript.append(("user", self.scene.text))
        self.entry["text"] = self.scene.text

    def result(self, block: dict, where: str) -> Result:
        call = block.get("tool_use_id")
        if call not in self.open_calls:
            raise Refusal(f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. "
                          "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.")
        self.open_calls.remove(call)
        content = block.get("content") or ""
        if isinstance(content, str):
            return Result(content, block.get("is_error") is True)
        for index, part in enumerate(expect(content, list, f"{where}.content")):
            self.check_block(part, RESULT_BLOCKS, f"{where}.content.{index}")
        parts = [part["text"] if part["type"] == "text" else f"saw {self.medium(part, where)}" for part in content]
        return Result(" ".join(parts), block.get("is_error") is True)

    def medium(self, block: dict, where: str) -> str:
        source = expect(block.get("source"), dict, f"{where}.source")
        kind = source.get("type")
        if kind == "url":
            return media.address(source.get("url", ""), f"{where}.source.url")
        if kind == "text" and block["type"] == "document":
            return f"text/plain {len(source['data'])} bytes"
        known = media.IMAGE_TYPES if block["type"] == "image" else ("application/pdf",)
        if kind != "base64" or source.get("media_type") not in known:
            raise Refusal(f"{where}.source.base64.media_type: Input should be one of {sorted(known)}")
        if set(source) != {"type", "media_type", "data"}:
            raise Refusal(f"{where}.source.base64: Extra inputs are not permitted")
        content = media.decode(source["data"], f"{where}.source.base64.data")
        if source["media_type"] == "application/pdf" and not content.startswith(b"%PDF"):
            raise Refusal("The PDF specified was not valid.")
        return media.seen(source["media_type"], content)

    def take_assistant(self, blocks: list, where: str, is_last: bool):
        self.refuse_open()
        for index, block in enumerate(blocks):
            self.check_said(block, f"{where}.{index}")
        self.open_calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(self.open_calls)) != len(self.open_calls):
            raise Refusal("messages: `tool_use` ids must be unique")
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        self.scene.transcript.append(("assistant", text))
        self.loop.append((blocks, where))
        if is_last and not self.open_calls:
            self.check_prefill(text)

    def check_said(self, block: dict, where: str):
        if block["type"] == "tool_use":
            if not CALL_ID.fullmatch(str(block.get("id"))):
                raise Refusal(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            if not TOOL_NAME.fullmatch(str(block.get("name"))):
                raise Refusal(f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")
            if not isinstance(block.get("input"), dict):
                raise Refusal(f"{where}.tool_use.input: Input should be a valid dictionary")
        if block["type"] == "thinking":
            self.check_thinking(block, where)

    def check_thinking(self, block: dict, where: str):
        if not block.get("signature"):
            raise Refusal(f"{where}.thinking.signature: Field required")
        issued = self.vendor.signatures.subject(block["signature"])
        if not self.claude.binds_thinking and (issued is None or issued[1] != block.get("thinking")):
            raise Refusal(f"{where}: Invalid `signature` in `thinking` block")
        is_own = issued == (self.claude.name, block.get("thinking"))
        self.entry["kept"].append("exact" if is_own or not self.claude.binds_thinking else "dropped")

    def check_prefill(self, text: str):
        if not self.claude.has_prefill:
            raise Refusal("This model does not support assistant message prefill. The conversation must end with a user message.")
        if self.thinks:
            raise Refusal("Prefill is not supported with thinking.")
        if text != text.rstrip():
            raise Refusal("messages: final assistant content cannot end with trailing whitespace")

    def refuse_open(self):
        if self.open_calls:
            raise Refusal(f"messages: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(self.open_calls)}. "
                          "Each `tool_use` block must have a corresponding `tool_result` block in the next message.")

    def check_loop(self):
        """Checks that the thinking of the running tool loop is complete and in order."""
        if not self.thinks or not self.scene.results:
            return
        for blocks, where in self.loop:
            calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
            thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
            if self.thinking == "enabled" and calls and blocks[0] not in thoughts:
                raise Refusal(f"{where}.0.type: Expected `thinking` or `redacted_thinking`, but found `{blocks[0]['type']}`. "
                              "When `thinking` is enabled, a final `assistant` message must start with a thinking block.")
            wanted = self.vendor.thinking_of_calls.get(calls[0]) if calls else None
            if wanted is not None and thoughts != wanted:
                raise Refusal(f"{where}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.")
