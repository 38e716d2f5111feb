"""The `anthropic` package, Messages."""

import base64

import anthropic

from .base import Call, Cannot, Reply, Talk, UncleanEnd, Usage

FINISHES = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "filter"}
CHOICES = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}


class MessagesTalk(Talk):
    def __init__(self, driver, model, wish):
        super().__init__(driver, model, wish)
        if wish.is_json:
            raise Cannot("Messages has no JSON mode without a schema")

    def user(self, text, *, image=None, address=None, pdf=None):
        blocks = [{"type": "text", "text": text}]
        if image is not None:
            blocks.append({"type": "image", "source": source("image/png", image)})
        if address is not None:
            blocks.append({"type": "image", "source": {"type": "url", "url": address}})
        if pdf is not None:
            blocks.append({"type": "document", "source": source("application/pdf", pdf)})
        self.history.append({"role": "user", "content": text if len(blocks) == 1 else blocks})

    def results(self, calls, texts, is_error=False):
        flag = {"is_error": True} if is_error else {}
        blocks = [{"type": "tool_result", "tool_use_id": call.id, "content": text} | flag for call, text in zip(calls, texts, strict=True)]
        self.history.append({"role": "user", "content": blocks})

    def arguments(self) -> dict:
        wish = self.wish
        fields = {"model": self.model, "messages": self.history, "max_tokens": wish.cap}
        if wish.system is not None:
            cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}} if wish.is_cached else {}
            fields["system"] = [{"type": "text", "text": wish.system} | cached]
        if wish.tools:
            fields["tools"] = [{"name": name, "input_schema": schema} for name, schema in wish.tools.items()]
        if wish.choice is not None or not wish.is_parallel:
            choice = CHOICES.get(wish.choice or "auto", {"type": "tool", "name": wish.choice})
            fields["tool_choice"] = choice if wish.is_parallel else choice | {"disable_parallel_tool_use": True}
        if wish.reasons:
            fields |= {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}
        if wish.stop:
            fields["stop_sequences"] = wish.stop
        if wish.temperature is not None:
            # The SDK has no argument for it any more, and the API's version that it asks for refuses it.
            raise Cannot("the anthropic SDK has no temperature any more")
        return fields

    def ask(self):
        if self.wish.schema is not None:
            answer = self.driver.client.messages.parse(**self.arguments(), output_format=self.wish.schema)
            return self.read(answer, answer.parsed_output)
        return self.read(self.driver.client.messages.create(**self.arguments()))

    async def ask_async(self):
        return self.read(await self.driver.async_client.messages.create(**self.arguments()))

    def ask_streamed(self):
        pieces = []
        with self.driver.client.messages.stream(**self.arguments()) as stream:
            pieces.extend(stream.text_stream)
            message = final(stream.get_final_message())
        return self.finish(message, pieces)

    async def ask_streamed_async(self):
        async with self.driver.async_client.messages.stream(**self.arguments()) as stream:
            pieces = [piece async for piece in stream.text_stream]
            message = final(await stream.get_final_message())
        return self.finish(message, pieces)

    def finish(self, message, pieces):
        reply = self.read(message)
        assert "".join(pieces) == reply.text, "the deltas and the message differ"
        reply.pieces = pieces
        return reply

    def read(self, answer, parsed=None) -> Reply:
        self.history.append({"role": "assistant", "content": answer.content})
        calls = [Call(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"]
        text = "".join(block.text for block in answer.content if block.type == "text")
        reasoning = "".join(block.thinking for block in answer.content if block.type == "thinking")
        return Reply(answer.model, text, reasoning, [text], calls, FINISHES.get(answer.stop_reason, answer.stop_reason), usage(answer.usage), parsed)


def final(message):
    if message.stop_reason is None:
        raise UncleanEnd("the stream ended without a stop_reason")
    return message


def source(kind: str, content: bytes) -> dict:
    return {"type": "base64", "media_type": kind, "data": base64.b64encode(content).decode()}


def usage(given) -> Usage:
    read, written = given.cache_read_input_tokens or 0, given.cache_creation_input_tokens or 0
    return Usage(
        given.input_tokens + read + written, given.output_tokens, read, written,
        written_1h=given.cache_creation.ephemeral_1h_input_tokens if given.cache_creation else 0,
        reasoning=given.output_tokens_details.thinking_tokens if given.output_tokens_details else 0,
    )


class Messages:
    """The driver."""

    name = "messages"
    errors = {
        400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 403: anthropic.PermissionDeniedError, 404: anthropic.NotFoundError,
        429: anthropic.RateLimitError, 500: anthropic.InternalServerError,
    }
    broken = (anthropic.APIError, anthropic.AnthropicError)
    refused = anthropic.APIStatusError

    def __init__(self, base: str, key: str):
        self.origin = (base, key)
        options = {"base_url": base, "api_key": key, "max_retries": 0, "timeout": 30}
        self.client, self.async_client = anthropic.Anthropic(**options), anthropic.AsyncAnthropic(**options)

    def talk(self, model: str, wish) -> Talk:
        return MessagesTalk(self, model, wish)

    async def close_async(self):
        await self.async_client.close()

    def open_stream(self, talk):
        stream = self.client.messages.create(**talk.arguments(), stream=True)
        return stream, stream.close

    def count(self, model: str, text: str) -> int:
        return self.client.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}]).input_tokens

    def models(self) -> list:
        return [model.id for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return self.client.models.retrieve(name).id

    def embed(self, model: str, texts: list, size: int) -> list:
        raise Cannot("Anthropic has no embeddings")
