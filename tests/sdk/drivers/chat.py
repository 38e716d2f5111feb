"""The `openai` package, Chat Completions."""

import base64
import json

import openai

from .base import Call, Cannot, Reply, Talk, UncleanEnd, Usage

FINISHES = {"stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filter"}


class ChatTalk(Talk):
    def __init__(self, driver, model, wish):
        super().__init__(driver, model, wish)
        if wish.system is not None:
            self.history.append({"role": "system", "content": wish.system})

    def user(self, text, *, image=None, address=None, pdf=None):
        parts = [{"type": "text", "text": text}]
        if image is not None:
            parts.append({"type": "image_url", "image_url": {"url": data_url("image/png", image)}})
        if address is not None:
            parts.append({"type": "image_url", "image_url": {"url": address}})
        if pdf is not None:
            parts.append({"type": "file", "file": {"filename": "a.pdf", "file_data": data_url("application/pdf", pdf)}})
        self.history.append({"role": "user", "content": text if len(parts) == 1 else parts})

    def results(self, calls, texts, is_error=False):
        if is_error:
            raise Cannot("Chat has no flag for a failed tool")
        for call, text in zip(calls, texts, strict=True):
            self.history.append({"role": "tool", "tool_call_id": call.id, "content": text})

    def arguments(self) -> dict:
        wish = self.wish
        fields = {"model": self.model, "messages": self.history, "max_completion_tokens": wish.cap}
        if wish.tools:
            fields["tools"] = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in wish.tools.items()]
        if wish.choice is not None:
            named = {"type": "function", "function": {"name": wish.choice}}
            fields["tool_choice"] = wish.choice if wish.choice in ("auto", "none", "required") else named
        if not wish.is_parallel:
            fields["parallel_tool_calls"] = False
        if wish.reasons:
            fields["reasoning_effort"] = "low"
        if wish.stop:
            fields["stop"] = wish.stop
        if wish.temperature is not None:
            fields["temperature"] = wish.temperature
        if wish.is_json:
            fields["response_format"] = {"type": "json_object"}
        return fields

    def ask(self):
        if self.wish.schema is not None:
            answer = self.driver.client.chat.completions.parse(**self.arguments(), response_format=self.wish.schema)
            return self.read(answer, answer.choices[0].message.parsed)
        return self.read(self.driver.client.chat.completions.create(**self.arguments()))

    async def ask_async(self):
        return self.read(await self.driver.async_client.chat.completions.create(**self.arguments()))

    def streaming(self) -> dict:
        return self.arguments() | {"stream": True, "stream_options": {"include_usage": True}}

    def ask_streamed(self):
        gathered = Gathered()
        for chunk in self.driver.client.chat.completions.create(**self.streaming()):
            gathered.take(chunk)
        return self.finish(gathered)

    async def ask_streamed_async(self):
        gathered = Gathered()
        async for chunk in await self.driver.async_client.chat.completions.create(**self.streaming()):
            gathered.take(chunk)
        return self.finish(gathered)

    def finish(self, gathered):
        self.history.append(gathered.message())
        return gathered.reply()

    def read(self, answer, parsed=None) -> Reply:
        choice = answer.choices[0]
        message = choice.message
        # The documented way to go on: the SDK's own object is appended.
        self.history.append(message)
        calls = [Call(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
        finish = "filter" if message.refusal else FINISHES.get(choice.finish_reason, choice.finish_reason)
        text = message.content or ""
        return Reply(answer.model, text, thoughts(message.model_extra), [text], calls, finish, usage(answer.usage), parsed)


class Gathered:
    """A stream put together as a careful client does it, with the fields that the SDK does not know."""

    def __init__(self):
        self.model, self.texts, self.refusal, self.finish_reason, self.usage = "", [], "", None, None
        self.calls, self.details, self.content = {}, {}, ""

    def take(self, chunk):
        self.model = chunk.model
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            if self.finish_reason is not None:
                raise AssertionError("a choice goes on after its finish")
            self.finish_reason = choice.finish_reason
            self.take_delta(choice.delta)

    def take_delta(self, delta):
        if delta.content:
            self.texts.append(delta.content)
        self.refusal += delta.refusal or ""
        for piece in delta.tool_calls or []:
            call = self.calls.setdefault(piece.index, {"id": piece.id, "type": "function", "function": {"name": piece.function.name, "arguments": ""}})
            call["function"]["arguments"] += piece.function.arguments or ""
        extra = delta.model_extra or {}
        self.content += extra.get("reasoning_content") or ""
        for detail in extra.get("reasoning_details") or []:
            self.take_detail(detail)

    def take_detail(self, detail: dict):
        known = self.details.setdefault((detail.get("index"), detail.get("type")), {})
        for name, value in detail.items():
            is_growing = name in ("text", "summary", "data") and isinstance(value, str)
            known[name] = known.get(name, "") + value if is_growing else value if value is not None else known.get(name)

    def message(self) -> dict:
        message = {"role": "assistant", "content": "".join(self.texts) or None}
        if self.calls:
            message["tool_calls"] = [self.calls[index] for index in sorted(self.calls)]
        if self.details:
            message["reasoning_details"] = list(self.details.values())
        if self.content:
            message["reasoning_content"] = self.content
        return message

    def reply(self) -> Reply:
        if self.finish_reason is None:
            raise UncleanEnd("the stream ended without a finish_reason")
        calls = [Call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}")) for _, call in sorted(self.calls.items())]
        finish = "filter" if self.refusal else FINISHES.get(self.finish_reason, self.finish_reason)
        assert self.usage is not None, "the stream has no usage"
        return Reply(self.model, "".join(self.texts), thoughts(self.message()), self.texts, calls, finish, usage(self.usage))


def thoughts(fields: dict | None) -> str:
    """Returns the shown reasoning of a message, from any of the fields in use."""
    fields = fields or {}
    details = fields.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details) or fields.get("reasoning_content") or fields.get("reasoning") or ""


def usage(given) -> Usage:
    details, output = given.prompt_tokens_details, given.completion_tokens_details
    return Usage(
        given.prompt_tokens, given.completion_tokens,
        read=(details and details.cached_tokens) or 0,
        written=(details and details.cache_write_tokens) or 0,
        reasoning=(output and output.reasoning_tokens) or 0,
    )


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


class Chat:
    """The driver."""

    name = "chat"
    talk_type = ChatTalk
    errors = {
        400: openai.BadRequestError, 401: openai.AuthenticationError, 403: openai.PermissionDeniedError, 404: openai.NotFoundError,
        429: openai.RateLimitError, 500: openai.InternalServerError,
    }
    # What a broken stream raises.
    broken = (openai.APIError,)
    refused = openai.APIStatusError

    def __init__(self, base: str, key: str):
        self.origin = (base, key)
        options = {"base_url": f"{base}/v1", "api_key": key, "max_retries": 0, "timeout": 30}
        self.client, self.async_client = openai.OpenAI(**options), openai.AsyncOpenAI(**options)

    def talk(self, model: str, wish) -> Talk:
        return self.talk_type(self, model, wish)

    async def close_async(self):
        await self.async_client.close()

    def open_stream(self, talk):
        """Returns an iterator over the raw stream, and its closing."""
        stream = self.client.chat.completions.create(**talk.streaming())
        return stream, stream.close

    def count(self, model: str, text: str) -> int:
        raise Cannot("Chat has no operation that counts tokens")

    def models(self) -> list:
        return [model.id for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return self.client.models.retrieve(name).id

    def embed(self, model: str, texts: list, size: int) -> list:
        return [item.embedding for item in self.client.embeddings.create(model=model, input=texts, dimensions=size).data]
