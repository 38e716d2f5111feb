"""What no SDK of these versions sends, but older clients and curl do: other places of the credential, Google's array stream."""

import json
import urllib.request

from .column import Cannot, Column, equal


def read(url: str, body: dict, headers: dict):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def contents(text: str) -> dict:
    return {"contents": [{"parts": [{"text": text}]}]}


def older_credential(column: Column):
    root, key = column.driver.origin
    if column.sdk == "messages":
        body = {"model": column.model, "max_tokens": 100, "temperature": 1, "messages": [{"role": "user", "content": "echo: one two"}]}
        answer = read(f"{root}/v1/messages", body, {"x-api-key": key, "anthropic-version": "2023-06-01"})
        equal(answer["content"][-1]["text"], "one two")
    elif column.sdk == "generate" and not column.is_direct:
        answer = read(f"{root}/v1beta/models/{column.model}:generateContent?key={key}", contents("echo: one two"), {})
        equal(answer["candidates"][0]["content"]["parts"][-1]["text"], "one two")
    else:
        raise Cannot("the format has one place for the credential")


def array_stream(column: Column):
    if column.sdk != "generate":
        raise Cannot("only Generate streams a JSON array")
    root, key = column.driver.origin
    url = f"{root}/v1beta/models/{column.model}:streamGenerateContent"
    chunks = read(url, contents("echo: one two three"), {"x-goog-api-key": key})
    parts = [part for chunk in chunks for candidate in chunk.get("candidates", []) for part in candidate.get("content", {}).get("parts", [])]
    equal("".join(part.get("text", "") for part in parts), "one two three")
    assert len(chunks) > 1, "the stream came in one piece"
    finishes = [candidate["finishReason"] for chunk in chunks for candidate in chunk.get("candidates", []) if "finishReason" in candidate]
    equal(finishes, ["STOP"], "the finish")
