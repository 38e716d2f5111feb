"""One question by the official SDKs, with requests that are changed on their way, and the errors that the SDKs raise."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import anthropic
import openai
from google import genai
from google.genai import errors as google_errors, types

TOKENS_MAX = 16
PATHS = {
    "chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages",
    "generate": "/v1beta/models/{model}:generateContent",
}
# The key that the SDKs know; on its way it is replaced, in whatever header it is.
KEY = "key-to-be-replaced"
REFUSED = (openai.APIStatusError, anthropic.APIStatusError, google_errors.APIError)


@dataclass
class Change:
    """What differs on the wire from what an SDK sends."""

    # None sends no credential.
    key: str | None
    headers: dict = field(default_factory=dict)
    # Returns the new content for the SDK's JSON: bytes, or an iterator over them.
    content: Callable | None = None
    path: str | None = None
    method: str | None = None


@dataclass
class Refusal:
    error: Exception
    status: int
    headers: dict
    text: str

    @property
    def body(self) -> dict:
        return json.loads(self.text)


class Askers:
    """A client of each SDK, without retries."""

    def __init__(self, root: str):
        self.change = None
        hooks = {"event_hooks": {"request": [self.alter]}}
        options = {"api_key": KEY, "max_retries": 0, "timeout": 30}
        gpt = openai.OpenAI(base_url=f"{root}/v1", http_client=openai.DefaultHttpxClient(**hooks), **options)
        claude = anthropic.Anthropic(base_url=root, http_client=anthropic.DefaultHttpxClient(**hooks), **options)
        gemini = genai.Client(api_key=KEY, vertexai=False, http_options=types.HttpOptions(base_url=root, timeout=30_000, client_args=hooks))
        config = types.GenerateContentConfig(max_output_tokens=TOKENS_MAX)
        said = [{"role": "user", "content": "hello"}]
        self.asks = {
            "chat": lambda model: gpt.chat.completions.create(model=model, messages=said, max_completion_tokens=TOKENS_MAX),
            "responses": lambda model: gpt.responses.create(model=model, input="hello", max_output_tokens=TOKENS_MAX),
            "messages": lambda model: claude.messages.create(model=model, messages=said, max_tokens=TOKENS_MAX),
            "generate": lambda model: gemini.models.generate_content(model=model, contents="hello", config=config),
        }

    def ask(self, format: str, model: str, change: Change) -> Refusal | None:
        """Returns the SDK's error, or None for an answer."""
        self.change = change
        try:
            self.asks[format](model)
        except REFUSED as error:
            answer = error.response
            return Refusal(error, answer.status_code, dict(answer.headers), answer.text)
        return None

    def alter(self, request):
        """Changes a request before it is sent."""
        change = self.change
        credentials = {name: value for name, value in request.headers.items() if KEY in value}
        assert credentials, "the SDK sends no key"
        for name, value in credentials.items():
            del request.headers[name]
            if change.key is not None:
                request.headers[name] = value.replace(KEY, change.key)
        request.headers.update(change.headers)
        request.method = change.method or request.method
        request.url = request.url.copy_with(path=change.path or request.url.path)
        if change.content is not None:
            self.replace(request, change.content(json.loads(request.content)))

    @staticmethod
    def replace(request, content):
        kind = type(request.stream)
        if isinstance(content, bytes):
            request.headers["content-length"] = str(len(content))
            request.stream = kind(content)
            return
        del request.headers["content-length"]
        request.headers["transfer-encoding"] = "chunked"
        # Each SDK has an HTTP client of its own, whose streams must be of its own class.
        request.stream = type("Pieces", (kind,), {"__iter__": lambda _: content})(b"")
