"""Every status of the gateway as the official SDKs of three vendors meet it: body, headers, and the class of the exception.

Usage: statuses.py PROGRAM
"""

import contextlib
import datetime
import json
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import anthropic
import openai
from google.genai import errors as google_errors

from askers import PATHS, TOKENS_MAX, Askers, Change, Refusal
from scripted import BODY_BYTES_MAX, BUSY, OWN_ERROR, PROVIDER_KEY, READ_TIMEOUT_MS, System, system

# By status: the classes of OpenAI's and Anthropic's SDKs, and the words of Anthropic and Google.
STATUSES = {
    400: (openai.BadRequestError, anthropic.BadRequestError, "invalid_request_error", "INVALID_ARGUMENT"),
    401: (openai.AuthenticationError, anthropic.AuthenticationError, "authentication_error", "UNAUTHENTICATED"),
    402: (openai.APIStatusError, anthropic.PaymentRequiredError, "billing_error", "RESOURCE_EXHAUSTED"),
    403: (openai.PermissionDeniedError, anthropic.PermissionDeniedError, "permission_error", "PERMISSION_DENIED"),
    404: (openai.NotFoundError, anthropic.NotFoundError, "not_found_error", "NOT_FOUND"),
    408: (openai.APIStatusError, anthropic.RequestTimeoutError, "timeout_error", "DEADLINE_EXCEEDED"),
    409: (openai.ConflictError, anthropic.ConflictError, "conflict_error", "ABORTED"),
    413: (openai.APIStatusError, anthropic.ContentTooLargeError, "request_too_large", "INVALID_ARGUMENT"),
    415: (openai.APIStatusError, anthropic.APIStatusError, "invalid_request_error", "INVALID_ARGUMENT"),
    # Never the gateway's own: only a provider's 422 is passed on.
    422: (openai.UnprocessableEntityError, anthropic.UnprocessableEntityError, "invalid_request_error", "INVALID_ARGUMENT"),
    429: (openai.RateLimitError, anthropic.RateLimitError, "rate_limit_error", "RESOURCE_EXHAUSTED"),
    502: (openai.InternalServerError, anthropic.InternalServerError, "api_error", "INTERNAL"),
    503: (openai.InternalServerError, anthropic.ServiceUnavailableError, "overloaded_error", "UNAVAILABLE"),
    504: (openai.InternalServerError, anthropic.GatewayTimeoutError, "timeout_error", "DEADLINE_EXCEEDED"),
}
FORMATS = tuple(PATHS)
OPENAI = ("chat", "responses")
GENERATION = re.compile(r"gen-\d+-[0-9a-f]{24}")
REQUEST_ID = "a-request-id-of-the-caller"
RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
ONE_MESSAGE = "Missing or invalid API key."
HOLD_USD = TOKENS_MAX / 1_000


@dataclass
class Case:
    name: str
    status: int
    # OpenAI's words.
    kind: str
    code: str | int
    change: Change
    model: str = "test/ok"
    param: str | None = None
    # The whole metadata, or a function of it that asserts.
    metadata: dict | Callable = field(default_factory=dict)
    message: str | None = None
    # Seconds, or a range of them; None for no header.
    retry_after: int | range | None = None
    # X-RateLimit-Limit; None for callers whose key may not ask models, and for management.
    limit: int | None = 100_000
    should_retry: str | None = None
    has_generation: bool = True
    formats: tuple = FORMATS
    # What goes on while an SDK asks; it yields the change for a format.
    meanwhile: Callable = lambda case, format: contextlib.nullcontext(case.change)


def check(case: Case, format: str, refusal: Refusal | None):
    assert refusal is not None, "the request was answered"
    equal("the status", refusal.status, case.status)
    assert PROVIDER_KEY not in refusal.text, "the body shows the provider's key"
    body = refusal.body
    message = {"chat": check_openai, "responses": check_openai, "messages": check_anthropic, "generate": check_google}[format](case, refusal, body)
    assert message and message == (case.message or message), f"the message is {message!r}"
    check_headers(case, refusal.headers)


def check_openai(case: Case, refusal: Refusal, body: dict) -> str:
    error, inner = refusal.error, body["error"]
    metadata, message = inner.pop("metadata"), inner.pop("message")
    equal("the body", body, {"error": {"type": case.kind, "code": case.code, "param": case.param}})
    if callable(case.metadata):
        case.metadata(metadata)
    else:
        equal("the metadata", metadata, case.metadata)
    equal("the SDK's class", type(error), STATUSES[case.status][0])
    equal("the SDK's fields", (error.type, error.code, error.param, error.request_id), (case.kind, str(case.code), case.param, REQUEST_ID))
    return message


def check_anthropic(case: Case, refusal: Refusal, body: dict) -> str:
    _, kind, word, _ = STATUSES[case.status]
    message = body["error"].pop("message")
    equal("the presence of a request_id", bool(GENERATION.fullmatch(body.pop("request_id") or "")), case.has_generation)
    equal("the body", body, {"type": "error", "error": {"type": word}})
    equal("the SDK's class", type(refusal.error), kind)
    equal("the SDK's fields", (refusal.error.type, refusal.error.api_message, refusal.error.request_id), (word, message, REQUEST_ID))
    return message


def check_google(case: Case, refusal: Refusal, body: dict) -> str:
    error, word = refusal.error, STATUSES[case.status][3]
    message = body["error"].pop("message")
    wait = refusal.headers.get("retry-after")
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}] if wait else []
    equal("the body", body, {"error": {"code": case.status, "status": word, "details": details}})
    equal("the SDK's class", type(error), google_errors.ClientError if case.status < 500 else google_errors.ServerError)
    equal("the SDK's fields", (error.code, error.status, error.message), (case.status, word, message))
    return message


def check_headers(case: Case, headers: dict):
    equal("Content-Type", headers["content-type"], "application/json")
    equal("X-Request-Id", headers.get("x-request-id"), REQUEST_ID)
    equal("X-Should-Retry", headers.get("x-should-retry"), case.should_retry)
    equal("X-Generation-Id", bool(GENERATION.fullmatch(headers.get("x-generation-id", ""))), case.has_generation)
    wait = headers.get("retry-after")
    is_right = int(wait or -1) in case.retry_after if isinstance(case.retry_after, range) else wait == (case.retry_after and str(case.retry_after))
    assert is_right, f"Retry-After is {wait!r}, not {case.retry_after}"
    equal("the presence of X-RateLimit", [name in headers for name in RATE_HEADERS], [case.limit is not None] * 3)
    if case.limit is not None:
        limit, remaining, reset_ms = (int(headers[name]) for name in RATE_HEADERS)
        equal("X-RateLimit-Limit", limit, case.limit)
        assert 0 <= remaining <= limit and 0 < reset_ms - time.time() * 1_000 <= 61_000, (remaining, reset_ms)


def equal(what: str, found, wanted):
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"


def payment(source: str, limit: float, *, held=0.0, resets=False) -> Callable:
    """Returns a check of the metadata of a 402. The held amount is at least the given one: a gateway borrows more than one request needs."""

    def checked(metadata: dict):
        held_usd, resets_at = metadata.pop("held_usd"), metadata.pop("resets_at")
        equal("the metadata", metadata, {"limit_source": source, "limit_usd": limit, "spend_usd": 0, "needed_usd": HOLD_USD})
        assert (held == held_usd == 0) or 0 < held <= held_usd <= limit, held_usd
        equal("resets_at", bool(resets_at), resets)
        if resets:
            at, now = datetime.datetime.fromisoformat(resets_at), datetime.datetime.now(datetime.UTC)
            assert (at.hour, at.minute, at.second) == (0, 0, 0) and 0 < (at - now).total_seconds() <= 86_400, resets_at

    return checked


def attempted(slugs: set, status: int | None, error: str, raw) -> Callable:
    def checked(metadata: dict):
        attempts = metadata.pop("attempts")
        equal("the attempts", {(each["provider"], each.get("status"), each["error"]) for each in attempts}, {(slug, status, error) for slug in slugs})
        assert metadata.pop("provider_name") in slugs
        equal("the metadata", metadata, {"raw": raw})

    return checked


def running(metadata: dict):
    assert GENERATION.fullmatch(metadata.pop("generation_id"))
    equal("the metadata", metadata, {"state": "running", "cost": None})


def without(name: str) -> Callable:
    return lambda body: json.dumps({key: value for key, value in body.items() if key != name}).encode()


def slow(_):
    """Yields a body that comes too late."""
    yield b"{"
    time.sleep(READ_TIMEOUT_MS / 1_000 + 0.2)


class Cases:
    """The cases, with the keys that they need."""

    def __init__(self, running_system: System):
        self.system = running_system
        first = running_system.first
        self.live, self.management, key = first["live_key"], first["management_key"], running_system.key
        self.expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        self.expired = key(expires_at=self.expiry.isoformat())["key"]
        deleted, disabled = key(), key()
        running_system.post(f"/api/v1/keys/{deleted['hash']}", self.management, {}, "DELETE")
        running_system.post(f"/api/v1/keys/{disabled['hash']}", self.management, {"disabled": True}, "PATCH")
        self.deleted, self.disabled = deleted["key"], disabled["key"]
        self.limited = key(rate_limit={"requests_per_minute": 1})["key"]
        poor = running_system.post("/api/v1/admin/accounts", running_system.operator, {"name": "poor"})[1]
        self.poor = key(poor["management_key"])["key"]

    def all(self) -> list:
        made = (self.requests, self.credentials, self.money, self.conflicts, self.limits, self.providers, self.management_calls)
        return sorted((case for make in made for case in make()), key=lambda case: case.status)

    def changed(self, content=None, **fields) -> Change:
        return Change(self.live, content=content, **fields)

    def requests(self) -> list:
        invalid = ("invalid_request_error", "invalid_request")
        nowhere = self.system.key(enforce_zdr=True)["key"]
        skipped = {"skipped": [{"provider": "test", "model": "test/ok", "reason": "not_zdr"}]}
        return [
            Case("malformed JSON", 400, *invalid, self.changed(lambda _: b"{")),
            Case("no model", 400, *invalid, self.changed(without("model")), param="model", formats=("chat", "responses", "messages")),
            Case("no messages", 400, *invalid, self.changed(without("messages")), param="messages", formats=("chat", "messages")),
            Case("no input", 400, *invalid, self.changed(without("input")), param="input", formats=("responses",)),
            Case("no contents", 400, *invalid, self.changed(without("contents")), param="contents", formats=("generate",)),
            Case("wrong type", 400, *invalid, self.changed(lambda body: json.dumps(body | {"model": 5}).encode()), param="model", formats=("chat", "responses", "messages")),
            Case("unknown field", 400, *invalid, self.changed(lambda body: json.dumps(body | {"color": "red"}).encode()), param="color", formats=("responses", "messages", "generate")),
            Case("unknown model", 400, "invalid_request_error", "model_not_found", self.changed(), model="test/nothing"),
            Case("malformed JSON, OpenRouter's route", 400, invalid[0], 400, self.changed(lambda _: b"{", path="/api/v1/chat/completions"), formats=("chat",)),
            Case("no provider fits", 404, "not_found_error", "no_matching_provider", Change(nowhere), metadata=skipped),
            Case("unknown route", 404, "not_found_error", "not_found", self.changed(path="/v1/nothing/here"), limit=None, formats=OPENAI),
            Case("unknown route", 404, "not_found_error", "not_found", self.changed(path="/v1/messages/nothing"), limit=None, formats=("messages",)),
            Case("unknown route", 404, "not_found_error", "not_found", self.changed(path="/v1beta/nothing"), limit=None, formats=("generate",)),
            Case("unknown operation", 404, "not_found_error", "not_found", self.changed(path="/v1beta/models/test/ok:nothing"), limit=None, has_generation=False, formats=("generate",)),
            Case("slow body", 408, "invalid_request_error", "request_timeout", self.changed(slow)),
            Case("large body", 413, "invalid_request_error", "request_too_large", self.changed(lambda _: b" " * (BODY_BYTES_MAX + 1))),
            Case("unknown coding", 415, "invalid_request_error", "unsupported_content_encoding", self.changed(headers={"content-encoding": "compress"})),
        ]

    def credentials(self) -> list:
        keys = {"no key": None, "unknown key": "lr_live_unknown", "deleted key": self.deleted, "disabled key": self.disabled, "expired key": self.expired}
        # An expiry must lie in the future when its key is made.
        time.sleep(max(0.0, (self.expiry - datetime.datetime.now(datetime.UTC)).total_seconds()))
        barred = self.system.key(allowed_models=["other/*"])["key"]
        refused = [Case(name, 401, "authentication_error", "invalid_api_key", Change(key), message=ONE_MESSAGE, limit=None) for name, key in keys.items()]
        return refused + [
            Case("management key", 403, "permission_error", "permission_denied", Change(self.management), limit=None),
            Case("model not allowed", 403, "permission_error", "model_not_allowed", Change(barred)),
        ]

    def money(self) -> list:
        kind, too_little, enough_for_one = "payment_required", HOLD_USD / 2, HOLD_USD * 1.25
        capped = self.system.key(limit=too_little, limit_reset="daily")["key"]
        return [
            Case("no credit", 402, kind, "insufficient_credits", Change(self.poor), metadata=payment("credits", 0)),
            Case("limit of the key", 402, kind, "key_limit", Change(capped), metadata=payment("key_limit", too_little, resets=True)),
            Case(
                "money in flight", 402, kind, "in_flight_budget", Change(self.system.key(limit=enough_for_one)["key"]), retry_after=1,
                metadata=payment("in_flight_budget", enough_for_one, held=HOLD_USD), meanwhile=self.in_flight,
            ),
        ]

    def in_flight(self, case: Case, format: str):
        return self.held(format, case.change)

    @contextlib.contextmanager
    def held(self, format: str, change: Change, **headers):
        """Has a request in flight, and yields the change."""
        path = PATHS[format].format(model="test/held")
        with self.system.in_flight(path, change.key, content(format), **headers):
            yield change

    def conflicts(self) -> list:
        kind, used = "conflict_error", "idempotency_key_used"
        return [
            Case("repeated request", 409, kind, used, self.changed(), metadata=running, should_retry="false", meanwhile=self.repeated),
            Case("key with another body", 409, kind, "conflict", self.changed(), should_retry="false", meanwhile=self.reused),
        ]

    @contextlib.contextmanager
    def repeated(self, case: Case, format: str):
        name = {"idempotency-key": f"repeated-{format}"}
        change = Change(self.live, name, content=lambda _: content(format), path=PATHS[format].format(model="test/held"))
        with self.held(format, change, **name):
            yield change

    @contextlib.contextmanager
    def reused(self, case: Case, format: str):
        name = {"idempotency-key": f"reused-{format}"}
        with self.held(format, Change(self.live), **name):
            yield Change(self.live, name, path=PATHS[format].format(model="test/held"))

    def limits(self) -> list:
        self.system.post(PATHS["chat"], self.limited, json.loads(content("chat")) | {"model": "test/ok"})
        return [Case("limit of requests", 429, "rate_limit_error", "rate_limit_exceeded", Change(self.limited), limit=1, retry_after=range(1, 62))]

    def providers(self) -> list:
        own = ("invalid_request_error", "context_length_exceeded")
        busy = attempted({"test", "second"}, 503, "status", BUSY)
        shown = {"provider_name": "test", "raw": OWN_ERROR}
        cases = [
            ("provider's 400", 400, *own, "refuses", {"param": "messages", "metadata": shown, "message": "too many tokens"}),
            ("provider's 422", 422, *own, "unprocessable", {"param": "messages", "metadata": shown, "message": "too many tokens"}),
            ("provider's 429", 429, "rate_limit_error", "upstream_rate_limit", "limited", {"retry_after": 7, "metadata": shown | {"raw": BUSY}}),
            ("provider's 401", 502, "upstream_error", "upstream_error", "unauthorized", {}),
            ("provider's web page", 502, "upstream_error", "upstream_error", "page", {}),
            ("all providers overloaded", 503, "no_available_providers", "upstream_overloaded", "overloaded", {"retry_after": 9, "metadata": busy}),
            ("provider unreachable", 503, "no_available_providers", "upstream_overloaded", "unreachable", {"metadata": {"provider_name": "absent", "raw": None}}),
            ("provider hangs", 504, "upstream_timeout", "upstream_timeout", "hanging", {}),
        ]
        return [Case(name, status, kind, code, self.changed(), model=f"test/{model}", **more) for name, status, kind, code, model, more in cases]

    def management_calls(self) -> list:
        def case(name, status, kind, code, key, path="/api/v1/keys", **more):
            change = Change(key, path=path, **{name: more.pop(name) for name in ("method", "content", "headers") if name in more})
            return Case(f"management: {name}", status, kind, code, change, limit=None, has_generation=False, formats=("chat",), **more)

        invalid, body = ("invalid_request_error", "invalid_request"), lambda **fields: lambda _: json.dumps(fields).encode()
        self.system.post("/api/v1/keys", self.management, {"name": "once"}, **{"idempotency-key": "once"})
        return [
            case("malformed JSON", 400, *invalid, self.management, content=lambda _: b"{"),
            case("unknown field", 400, *invalid, self.management, content=body(name="a", color="red")),
            case("unknown key", 401, "authentication_error", "invalid_api_key", "lr_mgmt_unknown", message=ONE_MESSAGE),
            case("inference key", 403, "permission_error", "permission_denied", self.live, content=body(name="a")),
            case("unknown object", 404, "not_found_error", "not_found", self.management, f"/api/v1/keys/{'0' * 64}", method="GET"),
            case("key with another body", 409, "conflict_error", "conflict", self.management, content=body(name="other"), headers={"idempotency-key": "once"}, should_retry="false"),
            case("large body", 413, "invalid_request_error", "request_too_large", self.management, content=lambda _: b" " * (BODY_BYTES_MAX + 1)),
        ]


def content(format: str) -> bytes:
    """Returns a request in flight, with a body of its own."""
    said = [{"role": "user", "content": "hold"}]
    bodies = {
        "chat": {"messages": said, "max_tokens": TOKENS_MAX}, "responses": {"input": "hold", "max_output_tokens": TOKENS_MAX},
        "messages": {"messages": said, "max_tokens": TOKENS_MAX},
        "generate": {"contents": [{"parts": [{"text": "hold"}]}], "generationConfig": {"maxOutputTokens": TOKENS_MAX}},
    }
    return json.dumps(bodies[format] | ({} if format == "generate" else {"model": "test/held"})).encode()


class Table:
    """The printed table, and the failures below it."""

    widths = (40, 51, 51, 23, 20, 26, 26, 26, 14)
    titles = ("case", "Chat", "Responses", "Messages", "Generate", "openai chat", "openai responses", "anthropic", "google-genai")

    def __init__(self):
        self.failures = []
        print("".join(f"{title:{width}}" for title, width in zip(self.titles, self.widths, strict=True)) + "headers")

    def row(self, case: Case, askers: Askers):
        words, classes, headers = [], [], []
        for format in FORMATS:
            word, kind, shown = self.cell(case, format, askers) if format in case.formats else ("—", "—", "")
            words.append(word)
            classes.append(kind)
            headers.append(shown)
        cells = (f"{case.status} {case.name}", *words, *classes)
        print("".join(f"{cell:{width}}" for cell, width in zip(cells, self.widths, strict=True)) + next(filter(None, headers), ""), flush=True)

    def cell(self, case: Case, format: str, askers: Askers) -> tuple:
        refusal = None
        try:
            with case.meanwhile(case, format) as change:
                change.headers["x-request-id"] = REQUEST_ID
                refusal = askers.ask(format, case.model, change)
            check(case, format, refusal)
        except Exception as error:
            self.failures.append(f"{case.name}, {format}: {type(error).__name__}: {error}; {refusal and refusal.text}")
            return (f"FAIL {len(self.failures)}",) * 2 + ("",)
        return words(format, refusal), type(refusal.error).__name__, shown(refusal.headers)


def words(format: str, refusal: Refusal) -> str:
    error = refusal.body["error"]
    return {"messages": lambda: error["type"], "generate": lambda: error["status"]}.get(format, lambda: f"{error['type']} {error['code']}")()


def shown(headers: dict) -> str:
    named = [f"{name}: {headers[name]}" for name in ("retry-after", "x-should-retry", "x-ratelimit-limit") if name in headers]
    return ", ".join([name for name in ("x-request-id", "x-generation-id") if name in headers] + named)


def main(program: str) -> int:
    warnings.simplefilter("ignore")
    with system(program) as running_system:
        cases, askers, table = Cases(running_system), Askers(running_system.root), Table()
        for case in cases.all():
            table.row(case, askers)
    for number, failure in enumerate(table.failures, 1):
        print(f"FAIL {number}: {failure}")
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
