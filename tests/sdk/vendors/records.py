"""The memory of a vendor: requests seen, streams with the times of their ends, and the signatures that it issued."""

import time
from collections import deque

REQUESTS_MAX = 500
HEADERS_KEPT = ("authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "anthropic-beta", "user-agent", "content-type")


class Records:
    def __init__(self):
        self.requests = deque(maxlen=REQUESTS_MAX)
        self.streams = deque(maxlen=REQUESTS_MAX)

    def request(self, request, body) -> dict:
        """Adds a request; the caller fills in its outcome."""
        headers = {name: request.headers[name] for name in HEADERS_KEPT if name in request.headers}
        entry = {"method": request.method, "path": request.path, "query": request.query, "headers": headers, "body": body}
        entry |= {"text": "", "status": None, "error": None, "kept": []}
        self.requests.append(entry)
        return entry

    def stream(self, text: str) -> dict:
        entry = {"text": text, "frames": 0, "opened_at": time.time(), "closed_at": None, "ended_at": None}
        self.streams.append(entry)
        return entry

    def state(self, mark: str) -> dict:
        """Returns what is known of the requests whose text contains a mark; all of them for an empty one."""
        return {
            "requests": [entry for entry in self.requests if mark in entry["text"]],
            "streams": [entry for entry in self.streams if mark in entry["text"]],
        }


class Signatures:
    """Opaque proofs of what was said: each can be asked for the very thing that it was issued for."""

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.issued = {}

    def issue(self, subject) -> str:
        # The length is a multiple of four, so that the text is base64 too, as Google's signatures must be.
        signature = f"{self.prefix}{len(self.issued):012d}"
        signature += "A" * (-len(signature) % 4)
        self.issued[signature] = subject
        return signature

    def subject(self, signature):
        return self.issued.get(signature)
