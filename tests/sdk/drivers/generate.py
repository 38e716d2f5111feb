"""The `google-genai` package."""

from google import genai
from google.genai import errors as google_errors, types

from .base import Call, Cannot, CodedError, Reply, Talk, UncleanEnd, Usage

FINISHES = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "filter", "PROHIBITED_CONTENT": "filter", "BLOCKLIST": "filter", "RECITATION": "filter"}
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


class GenerateTalk(Talk):
    def __init__(self, driver, model, wish):
        super().__init__(driver, model, wish)
        if not wish.is_parallel:
            raise Cannot("Generate cannot ask for one call at a time")

    def user(self, text, *, image=None, address=None, pdf=None):
        parts = [types.Part(text=text)]
        if image is not None:
            parts.append(types.Part.from_bytes(data=image, mime_type="image/png"))
        if address is not None:
            parts.append(types.Part.from_uri(file_uri=address, mime_type="image/png"))
        if pdf is not None:
            parts.append(types.Part.from_bytes(data=pdf, mime_type="application/pdf"))
        self.history.append(types.Content(role="user", parts=parts))

    def results(self, calls, texts, is_error=False):
        key = "error" if is_error else "output"
        # The documented helper writes no id: results are matched by their names and their order.
        parts = [types.Part.from_function_response(name=call.name, response={key: text}) for call, text in zip(calls, texts, strict=True)]
        self.history.append(types.Content(role="user", parts=parts))

    def arguments(self) -> dict:
        wish = self.wish
        fields = {"max_output_tokens": wish.cap, "automatic_function_calling": {"disable": True}}
        if wish.system is not None:
            fields["system_instruction"] = wish.system
        if wish.tools:
            declarations = [types.FunctionDeclaration(name=name, parameters_json_schema=schema) for name, schema in wish.tools.items()]
            fields["tools"] = [types.Tool(function_declarations=declarations)]
        if wish.choice is not None:
            named = {"mode": "ANY", "allowed_function_names": [wish.choice]}
            fields["tool_config"] = {"function_calling_config": {"mode": MODES[wish.choice]} if wish.choice in MODES else named}
        if wish.reasons:
            fields["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
        if wish.stop:
            fields["stop_sequences"] = wish.stop
        if wish.temperature is not None:
            fields["temperature"] = wish.temperature
        if wish.is_json or wish.schema is not None:
            fields["response_mime_type"] = "application/json"
        if wish.schema is not None:
            fields["response_schema"] = wish.schema
        return {"model": self.model, "contents": self.history, "config": types.GenerateContentConfig(**fields)}

    def ask(self):
        return self.read([self.driver.client.models.generate_content(**self.arguments())])

    async def ask_async(self):
        return self.read([await self.driver.client.aio.models.generate_content(**self.arguments())])

    def ask_streamed(self):
        return self.read(list(self.driver.client.models.generate_content_stream(**self.arguments())))

    async def ask_streamed_async(self):
        return self.read([chunk async for chunk in await self.driver.client.aio.models.generate_content_stream(**self.arguments())])

    def read(self, chunks: list) -> Reply:
        """Reads the chunks of a stream, or the only one of a whole answer."""
        parts, finish = [], None
        for chunk in chunks:
            if finish is not None and chunk.candidates and chunk.candidates[0].finish_reason:
                raise AssertionError("a candidate finishes twice")
            finish = finish or finish_of(chunk)
            parts += (chunk.candidates[0].content and chunk.candidates[0].content.parts) or [] if chunk.candidates else []
        if finish is None:
            raise UncleanEnd("the stream ended without a finishReason")
        if parts:
            # Every part goes back as it came: a signature is bound to its part.
            self.history.append(types.Content(role="model", parts=parts))
        calls = [Call(part.function_call.id, part.function_call.name, part.function_call.args or {}) for part in parts if part.function_call]
        texts = [part.text for part in parts if part.text and not part.thought]
        reasoning = "".join(part.text for part in parts if part.text and part.thought)
        finish = "tools" if calls and finish == "stop" else finish
        return Reply(chunks[-1].model_version, "".join(texts), reasoning, texts, calls, finish, usage(chunks[-1].usage_metadata), chunks[-1].parsed)


def finish_of(chunk) -> str | None:
    if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
        return "filter"
    if not chunk.candidates or chunk.candidates[0].finish_reason is None:
        return None
    name = chunk.candidates[0].finish_reason.value
    return FINISHES.get(name, name)


def usage(given) -> Usage:
    reasoning = given.thoughts_token_count or 0
    return Usage(given.prompt_token_count, (given.candidates_token_count or 0) + reasoning, read=given.cached_content_token_count or 0, reasoning=reasoning)


class Generate:
    """The driver."""

    name = "generate"
    errors = {code: CodedError(google_errors.ClientError, code) for code in (400, 401, 403, 404, 429)} | {500: CodedError(google_errors.ServerError, 500)}
    # What a broken stream raises.
    broken = (google_errors.APIError, google_errors.UnknownApiResponseError)
    refused = google_errors.APIError

    def __init__(self, base: str, key: str):
        self.origin = (base, key)
        self.client = genai.Client(api_key=key, vertexai=False, http_options=types.HttpOptions(base_url=base, timeout=30_000))

    def talk(self, model: str, wish) -> Talk:
        return GenerateTalk(self, model, wish)

    async def close_async(self):
        await self.client.aio.aclose()

    def open_stream(self, talk):
        stream = self.client.models.generate_content_stream(**talk.arguments())
        return stream, stream.close

    def count(self, model: str, text: str) -> int:
        return self.client.models.count_tokens(model=model, contents=text).total_tokens

    def models(self) -> list:
        return [model.name.removeprefix("models/") for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return self.client.models.get(model=name).name.removeprefix("models/")

    def embed(self, model: str, texts: list, size: int) -> list:
        config = types.EmbedContentConfig(output_dimensionality=size)
        return [item.values for item in self.client.models.embed_content(model=model, contents=texts, config=config).embeddings]
