"""OpenAI: Chat, Responses, embeddings, the list of models."""

import base64
import struct

from . import openai_chat, openai_responses
from .openai_rules import MODELS, check_known, model_of, one_of
from .records import Signatures
from .refusal import Refusal, number, required
from .server import Reply
from .vendor import Vendor

DIMENSIONS_MAX = 1536
EMBEDDING_FIELDS = frozenset("input model dimensions encoding_format user".split())
KINDS = {401: "invalid_request_error", 403: "permission_error", 404: "invalid_request_error", 429: "requests"}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 404: "model_not_found"}


class OpenAi(Vendor):
    def __init__(self):
        super().__init__()
        self.signatures = Signatures("gAAAAAB")
        # By id of a call: the reasoning item that led to it.
        self.reasoning_of_calls = {}
        # By id of a call: the `reasoning_content` of a compatible server that wants it back.
        self.thoughts_of_calls = {}

    def authorize(self, request):
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")

    def route(self, request, body, entry):
        operations = {
            ("POST", "/v1/chat/completions"): lambda: openai_chat.answer(self, body, entry),
            ("POST", "/v1/responses"): lambda: openai_responses.answer(self, body, entry),
            ("POST", "/v1/responses/input_tokens"): lambda: openai_responses.count(self, body, entry),
            ("POST", "/v1/embeddings"): lambda: embeddings(body),
            ("GET", "/v1/models"): models,
        }
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            return Reply(200, model(model_of({"model": request.path.removeprefix("/v1/models/")})))
        operation = operations.get((request.method, request.path))
        if operation is None:
            raise Refusal(f"Invalid URL ({request.method} {request.path})", status=404)
        return operation()

    def refused(self, refusal: Refusal) -> Reply:
        status = refusal.status
        kind = refusal.kind or KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
        error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code or CODES.get(status)}
        return Reply(status, {"error": error}, {"retry-after": "7"} if status == 429 else {})


def models() -> Reply:
    return Reply(200, {"object": "list", "data": [model(name) for name in MODELS]})


def model(name: str) -> dict:
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": "openai"}


def embeddings(body: dict) -> Reply:
    check_known(body, EMBEDDING_FIELDS)
    name = model_of(body)
    encoding = one_of(body.get("encoding_format", "float"), ("float", "base64"), "encoding_format")
    if "input" not in body:
        required(body, "input", str, "")
    given = body["input"]
    texts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not texts or any(not text for text in texts):
        raise Refusal("'$.input' is invalid.", param="input")
    size = body.get("dimensions", 4)
    number(size, 1, DIMENSIONS_MAX, "dimensions")
    data = [{"object": "embedding", "index": at, "embedding": vector(text, encoding, size)} for at, text in enumerate(texts)]
    tokens = sum(len(text.split()) if isinstance(text, str) else len(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Reply(200, {"object": "list", "data": data, "model": name, "usage": usage})


def vector(text, encoding: str, size: int):
    numbers = ([float(len(text)), 0.5, -0.5, 1.0] * size)[:size]
    return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode() if encoding == "base64" else numbers
