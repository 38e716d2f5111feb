// Ends: usage, reasons to stop, errors, clients that go, providers that break off.

import { Cannot } from "../drivers/base.mjs";
import { Unexpected, equal, expect, firstLine } from "./column.mjs";

const ASKS = ["ask", "askStreamed"];

export async function cached(column) {
  const hasWrites = column.provider === "anthropic";
  for (const ask of ASKS) {
    const { usage } = await column.talk("cached", { system: "A long text." })[ask]();
    equal(usage.read, 1000, `the count of tokens read from the cache (${ask})`);
    equal(usage.prompt, hasWrites ? 1550 : 1050, `the whole prompt's count (${ask})`);
    if (hasWrites && column.sdk !== "generate") equal(usage.written, 500, `the count of tokens written to the cache (${ask})`);
  }
}

export async function length(column) {
  for (const ask of ASKS) {
    const reply = await column.talk("stop reason length")[ask]();
    equal([reply.finish, reply.text], ["length", "one two three"]);
  }
}

export async function cap(column) {
  const reply = await column.talk(`echo: ${"word ".repeat(30)}`, { cap: 16 }).ask();
  equal([reply.finish, reply.text.trim().split(" ").length], ["length", 16]);
}

export async function stopSequence(column) {
  for (const ask of ASKS) {
    const talk = column.talk("echo: one two END three", { stop: ["END"] });
    try {
      const reply = await talk[ask]();
      equal([reply.finish, reply.text.trim()], ["stop", "one two"]);
    } catch (error) {
      if (column.provider !== "responses" || !error.message.includes("cannot be sent to this model's provider")) throw error;
      throw new Cannot("the gateway asks this provider by Responses, which has no stop sequences, and says so");
    }
  }
}

export async function refused(column) {
  for (const ask of ASKS) {
    if (column.sdk !== "openrouter") equal((await column.talk("refuse")[ask]()).finish, "filter", "the finish of a refusal");
    equal((await column.talk("filter")[ask]()).finish, "filter", "the finish of a filtered answer");
  }
}

/** Expects the SDK's class for one of some statuses, and returns the error. */
async function throws(column, call, statuses, label) {
  try {
    await call();
  } catch (error) {
    const isExpected = statuses.some((status) => column.driver.isError(error, status));
    expect(isExpected, `${label}: ${error?.constructor?.name} ${error?.status ?? error?.statusCode ?? ""} ${firstLine(error)}, not ${statuses}`);
    return error;
  }
  throw new Unexpected(`${label}: nothing was thrown`);
}

async function bothThrow(column, wish, statuses, label, text = "echo: hi") {
  for (const ask of ASKS) await throws(column, () => column.talk(text, wish)[ask](), statuses, `${label}, ${ask}`);
}

export async function wrongKey(column) {
  // Google says a wrong key with 400; a gateway may say 401.
  await bothThrow(column, { driver: column.withWrongKey }, column.sdk === "generate" ? [400, 401] : [401], "a wrong key");
}

export async function managementKey(column) {
  if (column.withManagementKey === null) throw new Cannot("no management key is given");
  await bothThrow(column, { driver: column.withManagementKey }, [403], "a management key");
}

export async function unknownModel(column) {
  await bothThrow(column, { model: "nobody/knows" }, [400, 404], "an unknown model");
}

export async function providerRefusal(column) {
  await bothThrow(column, { model: column.failingModel }, [400], "a refusal of the provider", "status 400");
}

export async function rateLimited(column) {
  await bothThrow(column, { model: column.failingModel }, [429], "a rate limit", "status 429");
}

export async function retryAfter(column) {
  const error = await throws(column, () => column.talk("status 429", { model: column.failingModel }).ask(), [429], "a rate limit");
  equal(column.driver.retryAfter(error), "7", "the wait");
}

export async function providerError(column) {
  await bothThrow(column, { model: column.failingModel }, [500], "an error of the provider", "status 500");
}

export async function cancel(column) {
  const mark = column.mark();
  await column.driver.leave(column.talk(`${mark} endless`), 5);
  await column.waitClosed(mark);
}

export async function cancelBySignal(column) {
  const mark = column.mark();
  const stop = new AbortController();
  const reading = column.driver.abort(column.talk(`${mark} endless`), stop.signal).catch(() => {});
  await column.waitOpened(mark);
  stop.abort();
  await column.waitClosed(mark);
  await reading;
}

/** A connection that breaks in the middle, and an answer that ends without its end. */
export async function cut(column) {
  for (const text of ["cut", "drop"]) await checkBroken(column, text);
  try {
    await column.talk("cut", { model: column.failingModel }).ask();
  } catch {
    return;
  }
  throw new Unexpected("cut: a whole answer that is broken throws nothing");
}

async function checkBroken(column, text) {
  let reply;
  try {
    reply = await column.talk(text, { model: column.failingModel }).askStreamed();
  } catch (error) {
    if (column.driver.isBroken(error)) return;
    throw error;
  }
  throw new Unexpected(`${text}: a clean end (${reply.finish}) of a broken answer`);
}
