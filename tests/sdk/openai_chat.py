"""The unmodified `openai` package against a running gateway: plain, streamed, async, tools, and each error as its own class.

Usage: openai_chat.py BASE_URL LIVE_KEY MANAGEMENT_KEY
"""

import asyncio
import sys
import time

import openai

base_url, live_key, management_key = sys.argv[1:4]
MESSAGES = [{"role": "user", "content": "one two three"}]
client = openai.OpenAI(base_url=base_url, api_key=live_key, max_retries=0)


def expect(kind, call, code=None):
    try:
        call()
    except kind as error:
        assert type(error) is kind or kind is openai.APIStatusError, (kind, type(error))
        if code is not None:
            assert error.code == code, (error.code, code)
        print(f"ok  {kind.__name__}: {error.message[:80]}")
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def with_key(key):
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


answer = client.chat.completions.create(model="simulated/echo", messages=MESSAGES)
assert answer.choices[0].message.content == "one two three" and answer.model == "simulated/echo" and answer.id.startswith("gen-")
assert abs(answer.created - time.time()) < 60, answer.created
assert answer.usage.total_tokens > 0 and answer.usage.cost > 0
print("ok  plain")

pieces = list(client.chat.completions.create(model="simulated/echo", messages=MESSAGES, stream=True))
assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "one two three"
assert all(abs(piece.created - time.time()) < 60 for piece in pieces)
assert pieces[-1].usage.completion_tokens == 3 and pieces[-1].choices == []
print("ok  streamed")


async def both():
    caller = openai.AsyncOpenAI(base_url=base_url, api_key=live_key, max_retries=0)
    plain = await caller.chat.completions.create(model="simulated/echo", messages=MESSAGES)
    assert plain.choices[0].message.content == "one two three"
    stream = await caller.chat.completions.create(model="simulated/echo", messages=MESSAGES, stream=True)
    text = "".join([piece.choices[0].delta.content or "" async for piece in stream if piece.choices])
    assert text == "one two three"


asyncio.run(both())
print("ok  async")

tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
client.chat.completions.create(model="simulated/echo", messages=MESSAGES, tools=tools, tool_choice="auto")
print("ok  tools are taken")
assert any(model.id == "simulated/echo" for model in client.models.list())
print("ok  models")

expect(openai.AuthenticationError, lambda: with_key("lr_live_wrong").chat.completions.create(model="simulated/echo", messages=MESSAGES), "invalid_api_key")
expect(openai.PermissionDeniedError, lambda: with_key(management_key).chat.completions.create(model="simulated/echo", messages=MESSAGES), "permission_denied")
expect(openai.BadRequestError, lambda: client.chat.completions.create(model="nobody/knows", messages=MESSAGES), "model_not_found")
expect(openai.BadRequestError, lambda: client.chat.completions.create(model="simulated/echo", messages=[]), "invalid_request")
expect(openai.BadRequestError, lambda: client.chat.completions.create(model="simulated/echo", messages=MESSAGES, n=1_000_000), "invalid_request")
expect(openai.NotFoundError, lambda: client.get("/nowhere", cast_to=object), "not_found")
expect(openai.APIStatusError, lambda: client.chat.completions.create(model="simulated/echo", messages=[{"role": "user", "content": "x" * 11_000_000}]), "request_too_large")
print("all ok")
