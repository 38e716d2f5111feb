// Tools: parallel calls over turns, failures of tools, forced choice, and reasoning that is kept over a turn.

import { Cannot } from "../drivers/base.mjs";
import { equal, expect } from "./column.mjs";

const TOOLS = {
  weather: {
    type: "object",
    properties: { city: { type: "string", description: "A city" } },
    required: ["city"],
    additionalProperties: false,
  },
  find_trains: {
    type: "object",
    properties: {
      route: { $ref: "#/$defs/route" },
      days: { type: "array", items: { type: "integer" } },
      note: { anyOf: [{ type: "string" }, { type: "null" }] },
      class: { const: "first" },
    },
    required: ["route"],
    $defs: { route: { type: "object", properties: { from: { type: "string" }, to: { type: ["string", "null"] } } } },
  },
  third: { type: "object", properties: {} },
};
const ARGUMENTS = [{ city: "Rome" }, { route: { from: "Rome", to: "Rome" }, days: [1], note: "Rome", class: "first" }];
const RESULTS = ["sunny", "no trains"];

/** Returns the talk and the reply with two calls, after checks. */
async function loop(column, ask, wish = {}) {
  const mark = column.mark();
  const talk = column.talk(`${mark} please use tools`, { tools: TOOLS, ...wish });
  const reply = await talk[ask]();
  equal(reply.calls.map((call) => call.name), ["weather", "find_trains"], "the calls");
  equal(reply.calls.map((call) => call.arguments), ARGUMENTS, "the arguments");
  equal(reply.finish, "tools", "the finish");
  const ids = reply.calls.map((call) => call.id);
  if (column.sdk !== "generate") expect(new Set(ids).size === 2, `the ids are ${ids}`);
  return { mark, talk, reply };
}

export async function parallel(column) {
  const { talk, reply } = await loop(column, "ask");
  talk.results(reply.calls, RESULTS);
  equal((await talk.ask()).text, "results: sunny | no trains");
}

export async function parallelStreamed(column) {
  for (const ask of ["askStreamed", "askByHelper"]) {
    const { talk, reply } = await loop(column, ask);
    talk.results(reply.calls, RESULTS);
    equal((await talk[ask]()).text, "results: sunny | no trains", `the answer (${ask})`);
    talk.user("echo: and then");
    equal((await talk[ask]()).text, "and then", `the next turn (${ask})`);
  }
}

export async function twoSteps(column) {
  const talk = column.talk("please use tools twice", { tools: TOOLS });
  const reply = await talk.ask();
  talk.results(reply.calls, RESULTS);
  const again = await talk.askStreamed();
  equal(again.calls.map((call) => call.name), ["weather"], "the calls of the second step");
  talk.results(again.calls, ["rain"]);
  equal((await talk.ask()).text, "results: rain");
}

export async function loopOfSdk(column) {
  // The loop for Chat in the `openai` package drops the fields of reasoning from its history.
  const wish = column.sdk === "chat" ? {} : { model: column.reasoningModel, reasons: true };
  needsUnsignedReasoning(column);
  const talk = column.talk("please use tools twice", { tools: TOOLS, ...wish });
  if (!talk.loopByHelper) throw new Cannot("the SDK has no tool loop of its own for Responses");
  equal(await talk.loopByHelper({ weather: "rain", find_trains: "no trains" }), "results: rain");
}

export async function noArguments(column) {
  for (const ask of ["ask", "askStreamed"]) {
    const talk = column.talk("please use tools", { tools: { third: TOOLS.third } });
    const reply = await talk[ask]();
    equal(reply.calls.map((call) => call.arguments), [{}], "the arguments");
    talk.results(reply.calls, [""]);
    const { text } = await talk[ask]();
    expect(text.startsWith("results:"), `the answer is ${text}`);
  }
}

export async function toolError(column) {
  const { talk, reply } = await loop(column, "ask");
  talk.results(reply.calls, ["no such city", "no such line"], true);
  const { text } = await talk.ask();
  expect(text.includes("no such city") && text.includes("no such line"), `the answer is ${text}`);
  expect(text.endsWith("(error seen)"), `the provider does not learn that the tools failed: ${text}`);
}

export async function forced(column) {
  for (const ask of ["ask", "askStreamed"]) {
    const named = await column.talk("hello", { tools: TOOLS, choice: "find_trains" })[ask]();
    equal(named.calls.map((call) => call.name), ["find_trains"], "the calls of a forced tool");
    const any = await column.talk("hello", { tools: TOOLS, choice: "required" })[ask]();
    equal(any.calls.map((call) => call.name), ["weather"], "the calls of any tool");
  }
  equal((await column.talk("echo: please use tools", { tools: TOOLS, choice: "none" }).ask()).text, "please use tools");
}

export async function oneAtATime(column) {
  const talk = column.talk("please use tools", { tools: TOOLS, isParallel: false });
  try {
    equal((await talk.ask()).calls.map((call) => call.name), ["weather"], "the calls");
  } catch (error) {
    const says = column.driver.isRefused(error) && error.message.includes("one at a time");
    if (column.provider !== "gemini" || !says) throw error;
    throw new Cannot("Generate cannot ask for one call at a time, and the gateway says so");
  }
}

export async function reasoning(column) {
  await checkReasoning(column, "ask");
}

export async function reasoningStreamed(column) {
  await checkReasoning(column, "askStreamed");
}

/** Refuses a loop in which the SDK itself drops the reasoning that its provider demands back. */
function needsUnsignedReasoning(column) {
  if (column.sdk === "openrouter" && column.provider === "openai") {
    throw new Cannot("OpenRouter's provider drops reasoning without a signature from its history, which DeepSeek wants back");
  }
}

async function checkReasoning(column, ask) {
  needsUnsignedReasoning(column);
  const { mark, talk, reply } = await loop(column, ask, { model: column.reasoningModel, reasons: true });
  talk.results(reply.calls, RESULTS);
  const second = await talk[ask]();
  equal(second.text, "results: sunny | no trains");
  expect(second.usage.reasoning > 0 || column.provider === "openai", "no reasoning is counted");
  const { kept } = await column.lastRequest(mark);
  expect(kept.includes("exact"), `the provider did not get its own reasoning back: ${kept}`);
  checkShown(column, reply);
}

function checkShown(column, reply) {
  if (column.provider === "responses" && column.sdk === "chat" && !reply.reasoning) {
    throw new Cannot("a client of Chat does not ask OpenAI to show its reasoning");
  }
  expect(reply.reasoning.startsWith("I consider"), `the reasoning that is shown is ${JSON.stringify(reply.reasoning)}`);
}

/** Answers with reasoning and without a call go back too: their signatures may sit on text. */
export async function reasoningTurns(column) {
  for (const ask of ["ask", "askStreamed"]) {
    const talk = column.talk("echo: one", { model: column.reasoningModel, reasons: true });
    equal((await talk[ask]()).text, "one");
    const mark = column.mark();
    talk.user(`${mark} echo: two`);
    const reply = await talk[ask]();
    equal(reply.text, "two");
    const { kept } = await column.lastRequest(mark);
    expect(!kept.includes("moved"), `a signature was moved on to another part (${ask})`);
    checkShown(column, reply);
  }
}
