"""Google: generateContent whole and streamed, countTokens, embedContent, batchEmbedContents, the list of models."""

import json
import re
import uuid

from .gemini_fields import read as read_fields
from .gemini_request import NAMES, generation, read
from .gemini_turns import Turns, texts
from .records import Signatures
from .refusal import Refusal, number
from .script import Act, Scene, perform, pieces, prompt_tokens
from .server import Reply
from .vendor import Vendor, sse

STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}
EMBEDDING = ("embedContent", "batchEmbedContents")
BATCH_MAX = 100
TASKS = (
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING",
    "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)
DIMENSIONS_MAX = 3072
FINISHES = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY", "tools": "STOP"}
OPERATION = re.compile(r"/v1(?:beta)?/models/(?P<model>[^:]+):(?P<operation>\w+)")
RATINGS = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]


class Gemini(Vendor):
    def __init__(self):
        super().__init__()
        # The letters differ between the two alphabets of base64, so that a wrong spelling shows.
        self.signatures = Signatures("Ci+/")

    def authorize(self, request):
        if "key" in request.query:
            raise Refusal("The credential must not stand in the address.")
        key = request.headers.get("x-goog-api-key")
        if key is None:
            raise Refusal("Method doesn't allow unregistered callers. Please use API Key.", status=403)
        if key != self.key:
            raise Refusal("API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")

    async def handle(self, request):
        reply = await super().handle(request)
        is_array = request.path.endswith(":streamGenerateContent") and request.query.get("alt") != "sse"
        if is_array and isinstance(reply, Reply):
            reply.body = [reply.body]
        return reply

    def route(self, request, body, entry):
        if request.method == "GET" and request.path in ("/v1beta/models", "/v1/models"):
            return Reply(200, {"models": [described(name) for name in NAMES]})
        if request.method == "GET" and (name := request.path.rpartition("/models/")[2]) in NAMES:
            return Reply(200, described(name))
        match = OPERATION.fullmatch(request.path)
        operations = {
            "generateContent": self.generate, "streamGenerateContent": self.generate, "countTokens": self.count,
            "embedContent": embed_one, "batchEmbedContents": embed,
        }
        if request.method != "POST" or match is None or match["operation"] not in operations:
            raise Refusal("The requested URL was not found on this server.", status=404)
        embeds = match["operation"] in EMBEDDING
        if match["model"] not in NAMES or embeds != ("embedding" in match["model"]):
            raise Refusal(f"models/{match['model']} is not found for API version v1beta, or is not supported for {match['operation']}.", status=404)
        return operations[match["operation"]](match["model"], body, entry, request)

    def generate(self, model: str, body: dict, entry: dict, request):
        scene, fields = read(self, model, body, entry)
        act = perform(scene)
        shows_thoughts = fields.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts", False)
        is_stream = "stream" in request.path
        parts = self.parts(act, model, shows_thoughts, is_stream)
        if not is_stream:
            return Reply(200, chunk(model, act, [part for group in parts for part in group], is_last=True), is_cut=act.fault == "cut")
        chunks = list(streamed(model, act, parts))
        more = chunk(model, act, [{"text": "more "}], is_last=False)
        if request.query.get("alt") == "sse":
            return self.stream([sse(item) for item in chunks], act, entry["text"], sse(more))
        frame = b",\r\n" + json.dumps(more).encode()
        return self.stream(array(chunks, act), act, entry["text"], frame, content_type="application/json; charset=UTF-8")

    def parts(self, act: Act, model: str, shows_thoughts: bool, is_stream: bool) -> list:
        """Returns the parts in groups; a group is one chunk of a stream."""
        is_signed = generation(model) >= 3 or act.reasoning is not None
        groups = [[{"text": piece, "thought": True}] for piece in said(act.reasoning or "", is_stream)] if shows_thoughts else []
        texts_said = [{"text": piece} for piece in said(act.text, is_stream)]
        if is_signed and texts_said and not act.fault:
            # In a stream the signature sits on an empty part at the end.
            if is_stream:
                texts_said.append({"text": ""})
            texts_said[-1]["thoughtSignature"] = self.signatures.issue(("text", texts_said[-1]["text"]))
        groups += [[part] for part in texts_said]
        calls = [self.call(name, arguments, model) for name, arguments in act.calls]
        if calls and is_signed:
            first = calls[0]["functionCall"]
            calls[0]["thoughtSignature"] = self.signatures.issue(("call", first["name"], first["args"]))
        return groups + ([calls] if calls else [])

    def call(self, name: str, arguments: dict, model: str) -> dict:
        identity = {"id": uuid.uuid4().hex[:8]} if generation(model) >= 3 else {}
        return {"functionCall": identity | {"name": name, "args": arguments}}

    def count(self, model: str, body: dict, entry: dict, request) -> Reply:
        fields = read_fields(body, "CountTokensRequest")
        fields = fields.get("generateContentRequest", fields)
        scene = Scene(system=" ".join(texts(fields.get("systemInstruction", {}).get("parts", []))))
        Turns(self, False, scene, entry).take_all(fields.get("contents", []))
        tokens = prompt_tokens(scene)
        return Reply(200, {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})

    def refused(self, refusal: Refusal) -> Reply:
        status = refusal.status
        error = {"code": status, "message": refusal.message, "status": STATUSES.get(status, "UNKNOWN")}
        if refusal.code == "API_KEY_INVALID":
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code, "domain": "googleapis.com"}]
        if status == 429:
            # The wait stands here, not in a header.
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
        return Reply(status, {"error": error})


def said(text: str, is_stream: bool) -> list:
    return pieces(text) if is_stream else [text] if text else []


def described(name: str) -> dict:
    methods = ["embedContent"] if "embedding" in name else ["generateContent", "countTokens"]
    limits = {"inputTokenLimit": 1048576, "outputTokenLimit": 65536}
    return {"name": f"models/{name}", "version": "001", "displayName": name, "supportedGenerationMethods": methods} | limits


def embed(model: str, body: dict, entry: dict, request) -> Reply:
    items = read_fields(body, "BatchEmbedContentsRequest").get("requests", [])
    if not 0 < len(items) <= BATCH_MAX:
        raise Refusal(f"BatchEmbedContentsRequest.requests: from 1 to {BATCH_MAX} requests can be in one batch.")
    for index, item in enumerate(items):
        if item.get("model") != f"models/{model}":
            raise Refusal(f"requests[{index}].model: it must be models/{model}.")
    return Reply(200, {"embeddings": [embedding(item) for item in items]})


def embed_one(model: str, body: dict, entry: dict, request) -> Reply:
    item = read_fields(body, "EmbedContentRequest")
    if item.get("model", f"models/{model}") != f"models/{model}":
        raise Refusal(f"model: it must be models/{model}.")
    return Reply(200, {"embedding": embedding(item)})


def embedding(item: dict) -> dict:
    said = texts(item.get("content", {}).get("parts", []))
    task = item.get("taskType", "TASK_TYPE_UNSPECIFIED")
    if not said or not all(said):
        raise Refusal("EmbedContentRequest.content contains an empty Part.")
    if task not in TASKS:
        raise Refusal(f"Invalid value at 'task_type', {task!r}")
    if "title" in item and task != "RETRIEVAL_DOCUMENT":
        raise Refusal("title is only valid for task_type RETRIEVAL_DOCUMENT.")
    size = item.get("outputDimensionality", 4)
    number(size, 1, DIMENSIONS_MAX, "output_dimensionality")
    return {"values": ([float(len(" ".join(said))), 0.5, -0.5, 1.0] * size)[:size]}


def chunk(model: str, act: Act, parts: list, is_last: bool) -> dict:
    identity = {"usageMetadata": usage(act, is_last), "modelVersion": model, "responseId": act.id}
    if act.finish == "filter":
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}} | identity
    candidate = {"index": 0}
    if act.finish != "refusal":
        candidate["content"] = {"role": "model", "parts": parts}
    if is_last:
        candidate["finishReason"] = FINISHES[act.finish]
    if act.finish == "refusal":
        candidate["safetyRatings"] = RATINGS
    return {"candidates": [candidate]} | identity


def usage(act: Act, is_last: bool) -> dict:
    used = act.usage
    prompt = used.fresh + used.read
    said_tokens = used.output - used.reasoning if is_last else 1
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": said_tokens, "totalTokenCount": prompt + said_tokens + used.reasoning}
    if used.read:
        counts["cachedContentTokenCount"] = used.read
    if used.reasoning:
        counts["thoughtsTokenCount"] = used.reasoning
    return counts | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]}


def streamed(model: str, act: Act, groups: list):
    """Yields the chunks; the last one has the finish."""
    if act.fault:
        yield from (chunk(model, act, group, is_last=False) for group in groups)
        return
    for group in groups[:-1]:
        yield chunk(model, act, group, is_last=False)
    yield chunk(model, act, groups[-1] if groups else [], is_last=True)


def array(chunks: list, act: Act) -> list:
    """Returns the pieces of one JSON array; a fault leaves it open."""
    frames = [(b",\r\n" if index else b"[") + json.dumps(item).encode() for index, item in enumerate(chunks)]
    return frames if act.fault else [*frames, b"\n]\n"]
