"""The `openai` package, Responses."""

import json

from .base import Call, Cannot, ProviderFailed, Reply, UncleanEnd, Usage
from .chat import Chat, ChatTalk, data_url

ENDS = ("response.completed", "response.incomplete")
REASONS = {"max_output_tokens": "length", "content_filter": "filter"}


class ResponsesTalk(ChatTalk):
    def __init__(self, driver, model, wish):
        self.driver, self.model, self.wish, self.history = driver, model, wish, []
        if wish.stop:
            raise Cannot("Responses has no stop sequences")

    def user(self, text, *, image=None, address=None, pdf=None):
        parts = [{"type": "input_text", "text": text}]
        if image is not None:
            parts.append({"type": "input_image", "detail": "auto", "image_url": data_url("image/png", image)})
        if address is not None:
            parts.append({"type": "input_image", "detail": "auto", "image_url": address})
        if pdf is not None:
            parts.append({"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", pdf)})
        self.history.append({"role": "user", "content": text if len(parts) == 1 else parts})

    def results(self, calls, texts, is_error=False):
        if is_error:
            raise Cannot("Responses has no flag for a failed tool")
        for call, text in zip(calls, texts, strict=True):
            self.history.append({"type": "function_call_output", "call_id": call.id, "output": text})

    def arguments(self):
        wish = self.wish
        fields = {"model": self.model, "input": self.history, "max_output_tokens": wish.cap, "store": False}
        if wish.system is not None:
            fields["instructions"] = wish.system
        if wish.tools:
            fields["tools"] = [{"type": "function", "name": name, "parameters": schema, "strict": False} for name, schema in wish.tools.items()]
        if wish.choice is not None:
            fields["tool_choice"] = wish.choice if wish.choice in ("auto", "none", "required") else {"type": "function", "name": wish.choice}
        if not wish.is_parallel:
            fields["parallel_tool_calls"] = False
        if wish.reasons:
            fields |= {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        if wish.temperature is not None:
            fields["temperature"] = wish.temperature
        if wish.is_json:
            fields["text"] = {"format": {"type": "json_object"}}
        return fields

    def ask(self):
        if self.wish.schema is not None:
            answer = self.driver.client.responses.parse(**self.arguments(), text_format=self.wish.schema)
            return self.read(answer, answer.output_parsed)
        return self.read(self.driver.client.responses.create(**self.arguments()))

    async def ask_async(self):
        return self.read(await self.driver.async_client.responses.create(**self.arguments()))

    def streaming(self):
        return self.arguments() | {"stream": True}

    def ask_streamed(self):
        events = Events()
        for event in self.driver.client.responses.create(**self.streaming()):
            events.take(event)
        return self.end(events)

    async def ask_streamed_async(self):
        events = Events()
        async for event in await self.driver.async_client.responses.create(**self.streaming()):
            events.take(event)
        return self.end(events)

    def end(self, events) -> Reply:
        reply = self.read(events.response())
        assert "".join(events.texts) == reply.text, f"the deltas say {''.join(events.texts)!r}, the response {reply.text!r}"
        said = [json.loads(text) for _, text in sorted(events.arguments.items())]
        assert said == [call.arguments for call in reply.calls], "the deltas of the arguments and the response differ"
        reply.pieces = events.texts
        return reply

    def read(self, answer, parsed=None):
        # The documented way to go on without stored state: the output is appended to the input.
        self.history += answer.output
        calls = [Call(item.call_id, item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        reasoning = "".join(part.text for item in answer.output if item.type == "reasoning" for part in [*item.summary, *(item.content or [])])
        refusals = [part for item in answer.output if item.type == "message" for part in item.content if part.type == "refusal"]
        finish = "filter" if refusals else "tools" if calls else "stop"
        if answer.status != "completed":
            finish = REASONS.get(answer.incomplete_details.reason, answer.incomplete_details.reason) if answer.incomplete_details else answer.status
        return Reply(answer.model, answer.output_text, reasoning, [answer.output_text], calls, finish, usage(answer.usage), parsed)


class Events:
    """The events of one response, checked for their order and their numbers."""

    def __init__(self):
        self.texts, self.arguments, self.final, self.last_number = [], {}, None, -1
        # Items that have begun, and those that are done, by their place.
        self.begun, self.done = {}, {}

    def take(self, event):
        if self.final is not None:
            raise AssertionError(f"{event.type} comes after the end")
        if event.type == "error":
            raise ProviderFailed(event.message)
        number = event.sequence_number
        assert number > self.last_number, "sequence_number does not rise"
        self.last_number = number
        if event.type == "response.output_text.delta":
            self.texts.append(event.delta)
        elif event.type == "response.function_call_arguments.delta":
            self.arguments[event.output_index] = self.arguments.get(event.output_index, "") + event.delta
        elif event.type == "response.output_item.added":
            self.begun[event.output_index] = event.item
            if event.item.type == "function_call":
                self.arguments.setdefault(event.output_index, "")
        elif event.type == "response.output_item.done":
            self.done[event.output_index] = event.item
        elif event.type == "response.failed":
            raise ProviderFailed(event.response.error and event.response.error.message)
        elif event.type in ENDS:
            self.final = event.response

    def response(self):
        if self.final is None:
            raise UncleanEnd("the stream ended without response.completed, .incomplete or .failed")
        # Some clients read the items' own events, some the last one: they must learn the same.
        assert sorted(self.begun) == sorted(self.done) == list(range(len(self.final.output))), f"items begin {self.begun} and end {self.done}"
        for index, item in enumerate(self.final.output):
            assert self.done[index].model_dump() == item.model_dump(), f"item {index} is done as {self.done[index]}, and at the end it is {item}"
        return self.final


def usage(given) -> Usage:
    return Usage(
        given.input_tokens, given.output_tokens, read=given.input_tokens_details.cached_tokens,
        written=given.input_tokens_details.cache_write_tokens, reasoning=given.output_tokens_details.reasoning_tokens,
    )


class Responses(Chat):
    name = "responses"
    talk_type = ResponsesTalk
    broken = (*Chat.broken, ProviderFailed)

    def open_stream(self, talk):
        stream = self.client.responses.create(**talk.streaming())
        return stream, stream.close

    def count(self, model, text):
        return self.client.responses.input_tokens.count(model=model, input=text).input_tokens
