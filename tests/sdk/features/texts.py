"""Text: whole, streamed, async, system, turns, media, structured output."""

import asyncio
import json

import pydantic
from vendors.vendor import PICTURE

from .column import Cannot, Column, NotServed, equal, first_line

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
UNUSUAL = "naïve “quotes” \\ 漢字 🙂 \u2028 line\nnext\ttab </data: [DONE]"


class Stay(pydantic.BaseModel):
    city: str
    nights: int
    tags: list[str]


def plain(column: Column):
    reply = column.talk("echo: one two three").ask()
    equal(reply.text, "one two three")
    equal(reply.finish, "stop", "the finish")
    equal(reply.usage.output, 3, "the output count")
    assert reply.usage.prompt > 0, "no prompt is counted"
    equal(reply.model, column.model, "the model")


def streamed(column: Column):
    reply = column.talk("echo: one two three").ask_streamed()
    equal(reply.text, "one two three")
    assert len(reply.pieces) > 1, f"the text came in one piece: {reply.pieces}"
    equal(reply.finish, "stop", "the finish")
    equal(reply.usage.output, 3, "the output count")
    assert reply.usage.prompt > 0, "no prompt is counted"
    equal(reply.model, column.model, "the model")


def in_async(column: Column):
    async def both():
        # An async client lives and dies with its loop.
        driver = type(column.driver)(*column.driver.origin)
        for ask in ("ask_async", "ask_streamed_async"):
            talk = column.talk("echo: one two three")
            talk.driver = driver
            equal((await getattr(talk, ask)()).text, "one two three")
        await driver.close_async()

    asyncio.run(both())


def unusual_text(column: Column):
    equal(column.talk(f"echo: {UNUSUAL}").ask().text, UNUSUAL)
    equal(column.talk(f"echo: {UNUSUAL}").ask_streamed().text, UNUSUAL)


def system(column: Column):
    equal(column.talk("what system", system="Be brief.").ask().text, "system: Be brief.")
    equal(column.talk("what system", system="Be brief.").ask_streamed().text, "system: Be brief.")


def turns(column: Column):
    talk = column.talk("echo: one")
    talk.ask()
    talk.user("echo: two")
    talk.ask_streamed()
    talk.user("what history")
    equal(talk.ask().text, "user: echo: one / assistant: one / user: echo: two / assistant: two / user: what history")


def image(column: Column):
    equal(column.talk("look", media={"image": PICTURE}).ask().text, f"saw image/png {len(PICTURE)} bytes")


def image_address(column: Column):
    address = f"{column.vendor}/_picture.png"
    try:
        text = column.talk("look", media={"address": address}).ask().text
    except column.driver.refused as error:
        if column.is_direct and column.provider != "gemini":
            raise
        raise NotServed(f"a loopback address is refused: {first_line(error)}") from error
    assert text in (f"saw address {address}", f"saw image/png {len(PICTURE)} bytes"), f"the answer is {text!r}"


def pdf(column: Column):
    equal(column.talk("look", media={"pdf": PDF}).ask().text, f"saw application/pdf {len(PDF)} bytes")


def json_schema(column: Column):
    reply = column.talk("where?", schema=Stay).ask()
    equal(reply.parsed, Stay(city="Rome", nights=1, tags=["Rome"]), "what the SDK parsed")


def json_mode(column: Column):
    equal(json.loads(column.talk("any json", is_json=True).ask().text), {"city": "Rome"})


def temperature(column: Column):
    mark = column.mark()
    column.talk(f"{mark} echo: warm", temperature=0.5).ask()
    body = column.requests(mark)[-1]["body"]
    equal(body.get("temperature", body.get("generationConfig", {}).get("temperature")), 0.5, "the provider's temperature")


def embeddings(column: Column):
    if column.provider == "anthropic":
        raise Cannot("Anthropic has no embeddings")
    vectors = column.driver.embed(column.embedding_model, ["one", "three"], 6)
    equal([vector[0] for vector in vectors], [3.0, 5.0], "the lengths in the vectors")
    equal([len(vector) for vector in vectors], [6, 6], "the dimensions")


def counted(column: Column):
    assert column.driver.count(column.model, "one two three") > 0


def listed(column: Column):
    names = column.driver.models()
    assert column.model in names, f"{column.model} is not in the list of {len(names)} models"
    equal(column.driver.model(column.model), column.model, "the retrieved model")
