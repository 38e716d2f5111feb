"""Tools: parallel calls over turns, failures of tools, forced choice, and reasoning that is kept over a turn."""

from .column import Cannot, Column, equal, first_line

TOOLS = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "A city"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "find_trains": {
        "type": "object",
        "properties": {
            "route": {"$ref": "#/$defs/route"},
            "days": {"type": "array", "items": {"type": "integer"}},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "class": {"const": "first"},
        },
        "required": ["route"],
        "$defs": {"route": {"type": "object", "properties": {"from": {"type": "string"}, "to": {"type": ["string", "null"]}}}},
    },
    "third": {"type": "object", "properties": {}},
}
ARGUMENTS = [{"city": "Rome"}, {"route": {"from": "Rome", "to": "Rome"}, "days": [1], "note": "Rome", "class": "first"}]


def loop(column: Column, ask: str, model=None, **wish):
    """Returns the talk and the reply with two calls, after checks."""
    mark = column.mark()
    talk = column.talk(f"{mark} please use tools", model, tools=TOOLS, **wish)
    reply = getattr(talk, ask)()
    equal([call.name for call in reply.calls], ["weather", "find_trains"], "the calls")
    equal([call.arguments for call in reply.calls], ARGUMENTS, "the arguments")
    equal(reply.finish, "tools", "the finish")
    if column.sdk != "generate":
        assert len({call.id for call in reply.calls}) == 2, f"the ids are {[call.id for call in reply.calls]}"
    return mark, talk, reply


def parallel(column: Column):
    _, talk, reply = loop(column, "ask")
    talk.results(reply.calls, ["sunny", "no trains"])
    equal(talk.ask().text, "results: sunny | no trains")


def parallel_streamed(column: Column):
    _, talk, reply = loop(column, "ask_streamed")
    talk.results(reply.calls, ["sunny", "no trains"])
    equal(talk.ask_streamed().text, "results: sunny | no trains")
    talk.user("echo: and then")
    equal(talk.ask_streamed().text, "and then")


def two_steps(column: Column):
    talk = column.talk("please use tools twice", tools=TOOLS)
    reply = talk.ask()
    talk.results(reply.calls, ["sunny", "no trains"])
    again = talk.ask_streamed()
    equal([call.name for call in again.calls], ["weather"], "the calls of the second step")
    talk.results(again.calls, ["rain"])
    equal(talk.ask().text, "results: rain")


def tool_error(column: Column):
    _, talk, reply = loop(column, "ask")
    talk.results(reply.calls, ["no such city", "no such line"], is_error=True)
    text = talk.ask().text
    assert "no such city" in text and "no such line" in text, f"the answer is {text!r}"
    assert text.endswith("(error seen)"), f"the provider does not learn that the tools failed: {text!r}"


def forced(column: Column):
    for ask in ("ask", "ask_streamed"):
        reply = getattr(column.talk("hello", tools=TOOLS, choice="find_trains"), ask)()
        equal([call.name for call in reply.calls], ["find_trains"], "the calls of a forced tool")
        reply = getattr(column.talk("hello", tools=TOOLS, choice="required"), ask)()
        equal([call.name for call in reply.calls], ["weather"], "the calls of any tool")
    equal(column.talk("echo: please use tools", tools=TOOLS, choice="none").ask().text, "please use tools")


def one_at_a_time(column: Column):
    talk = column.talk("please use tools", tools=TOOLS, is_parallel=False)
    try:
        reply = talk.ask()
    except column.driver.refused as error:
        if column.provider == "gemini" and "one at a time" in str(error):
            raise Cannot("Generate cannot ask for one call at a time, and the gateway says so") from error
        raise
    equal([call.name for call in reply.calls], ["weather"], "the calls")


def no_arguments(column: Column):
    tools = {"third": TOOLS["third"]}
    for ask in ("ask", "ask_streamed"):
        talk = column.talk("please use tools", tools=tools)
        reply = getattr(talk, ask)()
        equal([call.arguments for call in reply.calls], [{}], "the arguments")
        talk.results(reply.calls, [""])
        assert getattr(talk, ask)().text.startswith("results:")


def reasoning(column: Column):
    check_reasoning(column, "ask")


def reasoning_streamed(column: Column):
    check_reasoning(column, "ask_streamed")


def check_shown(column: Column, reply, model: str):
    if column.provider == "responses" and column.sdk == "chat" and not reply.reasoning:
        raise Cannot("a client of Chat does not ask OpenAI to show its reasoning")
    assert reply.reasoning.startswith("I consider"), f"the reasoning that {model} shows is {reply.reasoning!r}"


def check_reasoning(column: Column, ask: str):
    mark, talk, reply = loop(column, ask, column.reasoning_model, reasons=True)
    talk.results(reply.calls, ["sunny", "no trains"])
    second = getattr(talk, ask)()
    equal(second.text, "results: sunny | no trains")
    assert second.usage.reasoning > 0 or column.provider == "openai", "no reasoning is counted"
    kept = column.requests(mark)[-1]["kept"]
    assert "exact" in kept, f"the provider did not get its own reasoning back: {kept}"
    check_shown(column, reply, column.reasoning_model)


def reasoning_turns(column: Column):
    """Answers with reasoning and without a call go back too: their signatures may sit on text."""
    for ask in ("ask", "ask_streamed"):
        talk = column.talk("echo: one", column.reasoning_model, reasons=True)
        equal(getattr(talk, ask)().text, "one")
        mark = column.mark()
        talk.user(f"{mark} echo: two")
        reply = getattr(talk, ask)()
        equal(reply.text, "two")
        assert "moved" not in column.requests(mark)[-1]["kept"], f"a signature was moved on to another part ({ask})"
        check_shown(column, reply, column.reasoning_model)


def reasoning_on_others(column: Column):
    """The wish for reasoning is written in the way that each model takes."""
    if not column.more_reasoning_models:
        raise Cannot("this provider has one model that reasons")
    for model in column.more_reasoning_models:
        if column.sdk == "messages" and model.endswith("4.5"):
            # The same format passes unchanged: this model wants another wish than the driver's.
            continue
        for ask in ("ask", "ask_streamed"):
            reply = getattr(column.talk("echo: well", model, reasons=True), ask)()
            equal(reply.text, "well", f"the answer of {model}")
            check_shown(column, reply, model)


def foreign_reasoning(column: Column):
    """A tool loop begins at one provider and goes on at this one, which must not see the other's signatures."""
    if not column.foreign_models:
        raise Cannot("there is no other provider")
    for model in column.foreign_models:
        for ask in ("ask", "ask_streamed"):
            check_foreign(column, model, ask)


def check_foreign(column: Column, model: str, ask: str):
    talk = column.talk("please use tools", model, tools=TOOLS, reasons=True)
    reply = getattr(talk, ask)()
    talk.results(reply.calls, ["sunny", "no trains"])
    talk.model = column.reasoning_model
    try:
        equal(getattr(talk, ask)().text, "results: sunny | no trains")
        talk.user("echo: on")
        equal(getattr(talk, ask)().text, "on")
    except column.driver.refused as error:
        raise AssertionError(f"after {model}, {ask}: {first_line(error)}") from error
