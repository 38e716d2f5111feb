"""Ends: usage, reasons to stop, errors, clients that go, providers that break off."""

import asyncio

from drivers.base import CodedError

from .column import Cannot, Column, equal, first_line


def cached(column: Column):
    for ask in ("ask", "ask_streamed"):
        check_cached(getattr(column.talk("cached", system="A long text.", is_cached=True), ask)(), column)


def check_cached(reply, column: Column):
    has_writes = column.provider == "anthropic"
    equal(reply.usage.read, 1000, "the count of tokens read from the cache")
    equal(reply.usage.prompt, 1550 if has_writes else 1050, "the whole prompt's count")
    if has_writes and column.sdk != "generate":
        equal(reply.usage.written, 500, "the count of tokens written to the cache")
    if has_writes and column.sdk == "messages":
        equal(reply.usage.written_1h, 300, "the count of tokens written for an hour")


def length(column: Column):
    for ask in ("ask", "ask_streamed"):
        reply = getattr(column.talk("stop reason length"), ask)()
        equal((reply.finish, reply.text), ("length", "one two three"))


def cap(column: Column):
    reply = column.talk("echo: " + "word " * 30, cap=16).ask()
    equal((reply.finish, len(reply.text.split())), ("length", 16))


def stop_sequence(column: Column):
    for ask in ("ask", "ask_streamed"):
        talk = column.talk("echo: one two END three", stop=["END"])
        try:
            reply = getattr(talk, ask)()
        except column.driver.refused as error:
            if column.provider == "responses" and "cannot be sent to this model's provider" in str(error):
                raise Cannot("the gateway asks this provider by Responses, which has no stop sequences, and says so") from error
            raise
        equal((reply.finish, reply.text.strip()), ("stop", "one two"))


def refused(column: Column):
    for ask in ("ask", "ask_streamed"):
        equal(getattr(column.talk("refuse"), ask)().finish, "filter", "the finish of a refusal")
        equal(getattr(column.talk("filter"), ask)().finish, "filter", "the finish of a filtered answer")


def expect(column: Column, call, status: int, label: str):
    """Expects the SDK's class for a status."""
    kinds = [column.driver.errors[status]] if isinstance(status, int) else [column.driver.errors[code] for code in status]
    try:
        call()
    except column.driver.refused as error:
        assert any(is_kind(error, kind) for kind in kinds), f"{label}: {type(error).__name__} {first_line(error)}, not {[kind.__name__ for kind in kinds]}"
        return error
    raise AssertionError(f"{label}: nothing was raised")


def is_kind(error, kind) -> bool:
    if isinstance(kind, CodedError):
        wanted = error.code == kind.code or (kind.code == 500 and error.code >= 500)
        return type(error) is kind.kind and wanted
    return isinstance(error, kind)


def wrong_key(column: Column):
    # Google says a wrong key with 400; a gateway may say 401.
    status = (400, 401) if column.sdk == "generate" else 401
    talk = column.with_wrong_key.talk(column.model, column.talk().wish)
    talk.user("echo: hi")
    expect(column, talk.ask, status, "a wrong key")
    expect(column, talk.ask_streamed, status, "a wrong key, streamed")


def management_key(column: Column):
    if column.with_management_key is None:
        raise Cannot("no management key is given")
    talk = column.with_management_key.talk(column.model, column.talk().wish)
    talk.user("echo: hi")
    expect(column, talk.ask, 403, "a management key")


def unknown_model(column: Column):
    expect(column, column.talk("echo: hi", "nobody/knows").ask, (400, 404), "an unknown model")
    expect(column, column.talk("echo: hi", "nobody/knows").ask_streamed, (400, 404), "an unknown model, streamed")


def no_messages(column: Column):
    talk = column.talk()
    if column.sdk == "generate":
        talk.history = [{"role": "user", "parts": []}]
    expect(column, talk.ask, 400, "an empty conversation")


def rate_limited(column: Column):
    expect(column, column.talk("status 429", column.failing_model).ask, 429, "a rate limit")
    expect(column, column.talk("status 429", column.failing_model).ask_streamed, 429, "a rate limit, streamed")


def retry_after(column: Column):
    error = expect(column, column.talk("status 429", column.failing_model).ask, 429, "a rate limit")
    if column.sdk == "generate":
        assert "7s" in str(error.details) or error.response.headers.get("retry-after"), "the wait is not told"
    else:
        equal(error.response.headers.get("retry-after"), "7", "retry-after")


def provider_error(column: Column):
    for ask in ("ask", "ask_streamed"):
        expect(column, getattr(column.talk("status 500", column.failing_model), ask), 500, "an error of the provider")


def provider_refusal(column: Column):
    expect(column, column.talk("status 400", column.failing_model).ask, 400, "a refusal of the provider")


def cancel(column: Column):
    mark = column.mark()
    stream, close = column.driver.open_stream(column.talk(f"{mark} endless"))
    for _, _ in zip(range(5), stream):
        pass
    close()
    column.wait_closed(mark)


def cancel_async(column: Column):
    mark = column.mark()

    async def leave():
        driver = type(column.driver)(*column.driver.origin)
        talk = column.talk(f"{mark} endless")
        talk.driver = driver
        task = asyncio.create_task(talk.ask_streamed_async())
        while not column.state(mark)["streams"]:
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # The connection must close by the cancelled task alone, not by the end of the client.
        await asyncio.to_thread(column.wait_closed, mark)
        await driver.close_async()

    asyncio.run(leave())


def cut(column: Column):
    """A connection that breaks in the middle, and an answer that ends without its end."""
    # No SDK notices the second one by itself: it is the gateway that knows what an end is.
    for text in ("cut",) if column.is_direct else ("cut", "drop"):
        talk = column.talk(text, column.failing_model)
        try:
            reply = talk.ask_streamed()
        except column.driver.broken:
            continue
        except Exception as error:
            if type(error).__module__.startswith(("httpx", "httpcore", "h11")):
                continue
            raise
        raise AssertionError(f"{text}: a clean end ({reply.finish!r}) of a broken answer")
    try:
        column.talk("cut", column.failing_model).ask()
    except Exception:
        return
    raise AssertionError("cut: a whole answer that is broken raises nothing")
