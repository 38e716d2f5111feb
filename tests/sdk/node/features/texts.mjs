// Text: whole, streamed, system, turns, media, structured output, and the operations beside answers.

import { z } from "zod";
import { Cannot } from "../drivers/base.mjs";
import { equal, expect } from "./column.mjs";

const PDF = Buffer.from("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n");
const UNUSUAL = "naïve “quotes” \\ 漢字 🙂 \u2028 line\nnext\ttab </data: [DONE]";
const Stay = z.object({ city: z.string(), nights: z.number().int(), tags: z.array(z.string()) });

function checkThree(column, reply) {
  equal(reply.text, "one two three");
  equal(reply.finish, "stop", "the finish");
  equal(reply.usage.output, 3, "the output count");
  expect(reply.usage.prompt > 0, "no prompt is counted");
  equal(reply.model, column.model, "the model");
}

export async function plain(column) {
  checkThree(column, await column.talk("echo: one two three").ask());
}

export async function streamed(column) {
  for (const ask of ["askStreamed", "askByHelper"]) {
    const reply = await column.talk("echo: one two three")[ask]();
    checkThree(column, reply);
    expect(reply.pieces.length > 1, `the text came in one piece (${ask})`);
  }
}

export async function unusualText(column) {
  equal((await column.talk(`echo: ${UNUSUAL}`).ask()).text, UNUSUAL);
  equal((await column.talk(`echo: ${UNUSUAL}`).askStreamed()).text, UNUSUAL);
}

export async function system(column) {
  equal((await column.talk("what system", { system: "Be brief." }).ask()).text, "system: Be brief.");
  equal((await column.talk("what system", { system: "Be brief." }).askStreamed()).text, "system: Be brief.");
}

export async function turns(column) {
  const talk = column.talk("echo: one");
  await talk.ask();
  talk.user("echo: two");
  await talk.askStreamed();
  talk.user("what history");
  equal((await talk.ask()).text, "user: echo: one / assistant: one / user: echo: two / assistant: two / user: what history");
}

export async function image(column) {
  const reply = await column.talk("look", { media: { image: column.picture } }).ask();
  equal(reply.text, `saw image/png ${column.picture.length} bytes`);
}

export async function pdf(column) {
  equal((await column.talk("look", { media: { pdf: PDF } }).ask()).text, `saw application/pdf ${PDF.length} bytes`);
}

export async function jsonSchema(column) {
  equal((await column.talk("where?", { schema: Stay }).ask()).parsed, { city: "Rome", nights: 1, tags: ["Rome"] }, "what the SDK parsed");
}

export async function embeddings(column) {
  if (column.provider === "anthropic") throw new Cannot("Anthropic has no embeddings");
  const vectors = await column.driver.embed(column.embeddingModel, ["one", "three"]);
  equal(vectors.map((vector) => vector[0]), [3, 5], "the lengths in the vectors");
}

export async function counted(column) {
  expect((await column.driver.count(column.model, "one two three")) > 0, "nothing is counted");
}

export async function listed(column) {
  const names = await column.driver.models();
  expect(names.includes(column.model), `${column.model} is not in the list of ${names.length} models`);
  equal(await column.driver.model(column.model), column.model, "the retrieved model");
}

export async function cost(column) {
  if (column.sdk !== "openrouter") throw new Cannot("only OpenRouter's provider shows the cost");
  for (const ask of ["ask", "askStreamed"]) {
    const { usage } = await column.talk("echo: one two three", { showsCost: true })[ask]();
    // The prices stand in providers.py: one and two dollars for a million tokens.
    const wanted = (usage.prompt + 2 * usage.output) / 1e6;
    expect(Math.abs(usage.cost - wanted) < 1e-9, `the cost is ${usage.cost}, not ${wanted} (${ask})`);
  }
}
