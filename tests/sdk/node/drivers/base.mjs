// What the drivers share. A talk is one conversation; it keeps the history in the SDK's own types.

/** The format, or the SDK, has no way to say this. */
export class Cannot extends Error {}

/** A stream ended without an end of its answer, and the SDK threw nothing. */
export class UncleanEnd extends Error {}

/** An SDK hands the failure of a stream to its caller as an event, instead of throwing it. */
export class ProviderFailed extends Error {}

/** What a request asks for beside its text. */
export const NO_WISH = {
  system: null,
  // Names and schemas of the arguments.
  tools: null,
  // auto, none, required, or a tool's name.
  choice: null,
  isParallel: true,
  // A zod schema for the SDK's own helper.
  schema: null,
  reasons: false,
  // OpenRouter's wish for the cost in the answer.
  showsCost: false,
  stop: null,
  cap: 4096,
};

export class Talk {
  constructor(driver, model, wish) {
    this.driver = driver;
    this.model = model;
    this.wish = { ...NO_WISH, ...wish };
    this.history = [];
  }
}

/** The answer in the words of the matrix: `finish` is stop, length, tools, filter, or the native name. */
export function reply(fields) {
  return { model: "", text: "", reasoning: "", pieces: [], calls: [], finish: "", usage: null, parsed: null, ...fields };
}

export function base64(bytes) {
  return Buffer.from(bytes).toString("base64");
}

export function dataUrl(kind, bytes) {
  return `data:${kind};base64,${base64(bytes)}`;
}

export async function collect(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Reads some items of a stream and leaves the loop, as the SDKs' documentation shows it. */
export async function readSome(stream, count) {
  for await (const _ of stream) {
    count -= 1;
    if (count === 0) break;
  }
}
