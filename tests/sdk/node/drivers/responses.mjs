// The `openai` package, Responses.

import assert from "node:assert/strict";
import { zodTextFormat } from "openai/helpers/zod";
import { Cannot, ProviderFailed, Talk, UncleanEnd, dataUrl, readSome, reply } from "./base.mjs";
import { Chat, isMode } from "./chat.mjs";

const ENDS = ["response.completed", "response.incomplete"];
const REASONS = { max_output_tokens: "length", content_filter: "filter" };

class ResponsesTalk extends Talk {
  constructor(driver, model, wish) {
    super(driver, model, wish);
    if (this.wish.stop) throw new Cannot("Responses has no stop sequences");
  }

  user(text, { image, pdf } = {}) {
    const parts = [{ type: "input_text", text }];
    if (image) parts.push({ type: "input_image", detail: "auto", image_url: dataUrl("image/png", image) });
    if (pdf) parts.push({ type: "input_file", filename: "a.pdf", file_data: dataUrl("application/pdf", pdf) });
    this.history.push({ role: "user", content: parts.length === 1 ? text : parts });
  }

  results(calls, texts, isError = false) {
    if (isError) throw new Cannot("Responses has no flag for a failed tool");
    calls.forEach((call, index) => this.history.push({ type: "function_call_output", call_id: call.id, output: texts[index] }));
  }

  fields() {
    const { system, tools, choice, isParallel, reasons, cap } = this.wish;
    const fields = { model: this.model, input: this.history, max_output_tokens: cap, store: false };
    if (system !== null) fields.instructions = system;
    if (tools) fields.tools = Object.entries(tools).map(([name, parameters]) => ({ type: "function", name, parameters, strict: false }));
    if (choice) fields.tool_choice = isMode(choice) ? choice : { type: "function", name: choice };
    if (!isParallel) fields.parallel_tool_calls = false;
    if (reasons) Object.assign(fields, { reasoning: { effort: "low", summary: "auto" }, include: ["reasoning.encrypted_content"] });
    return fields;
  }

  async ask() {
    const { responses } = this.driver.client;
    if (this.wish.schema === null) return this.read(await responses.create(this.fields()));
    return this.read(await responses.parse({ ...this.fields(), text: { format: zodTextFormat(this.wish.schema, "answer") } }));
  }

  streaming() {
    return { ...this.fields(), stream: true };
  }

  async askStreamed() {
    const events = new Events();
    for await (const event of await this.driver.client.responses.create(this.streaming())) events.take(event);
    const answer = this.read(events.response());
    assert.equal(events.texts.join(""), answer.text, "the deltas and the response differ");
    const said = [...events.arguments].sort(([one], [other]) => one - other).map(([, text]) => JSON.parse(text));
    assert.deepEqual(said, answer.calls.map((call) => call.arguments), "the deltas of the arguments and the response differ");
    return { ...answer, pieces: events.texts };
  }

  /** The SDK's own helper puts the stream together. */
  async askByHelper() {
    const pieces = [];
    const stream = this.driver.client.responses.stream(this.fields());
    stream.on("response.output_text.delta", (event) => pieces.push(event.delta));
    const answer = await stream.finalResponse();
    // The helper's own fields are no part of a request: OpenAI refuses them too.
    for (const item of answer.output) {
      delete item.parsed_arguments;
      for (const part of item.content ?? []) delete part.parsed;
    }
    return { ...this.read(answer), pieces };
  }

  read(answer) {
    // The documented way to go on without stored state: the output is appended to the input.
    this.history.push(...answer.output);
    const calls = answer.output.filter((item) => item.type === "function_call").map(readCall);
    const reasoning = answer.output.filter((item) => item.type === "reasoning").flatMap((item) => [...item.summary, ...(item.content ?? [])]);
    // Only the answers to `create` have `output_text`: a stream's last event comes as the gateway wrote it.
    const parts = answer.output.filter((item) => item.type === "message").flatMap((item) => item.content);
    const text = parts.map((part) => part.text ?? "").join("");
    assert.equal(answer.output_text ?? text, text, "output_text");
    return reply({
      model: answer.model, text, reasoning: reasoning.map((part) => part.text).join(""), pieces: [text], calls, finish: finish(answer, parts, calls),
      usage: usage(answer.usage), parsed: answer.output_parsed,
    });
  }
}

function finish(answer, parts, calls) {
  if (answer.status !== "completed") return REASONS[answer.incomplete_details?.reason] ?? answer.status;
  if (parts.some((part) => part.type === "refusal")) return "filter";
  return calls.length ? "tools" : "stop";
}

function readCall(item) {
  return { id: item.call_id, name: item.name, arguments: JSON.parse(item.arguments) };
}

/** The events of one response, checked for their order and their numbers. */
class Events {
  constructor() {
    Object.assign(this, { texts: [], arguments: new Map(), final: null, lastNumber: -1, begun: new Set(), done: new Map() });
  }

  take(event) {
    if (this.final !== null) throw new UncleanEnd(`${event.type} comes after the end`);
    if (event.type === "error") throw new ProviderFailed(event.message);
    if (event.type === "response.failed") throw new ProviderFailed(event.response.error?.message);
    assert.ok(event.sequence_number > this.lastNumber, "sequence_number does not rise");
    this.lastNumber = event.sequence_number;
    this.takeKnown(event, event.output_index);
  }

  takeKnown(event, index) {
    if (event.type === "response.output_text.delta") {
      this.texts.push(event.delta);
    } else if (event.type === "response.function_call_arguments.delta") {
      this.arguments.set(index, (this.arguments.get(index) ?? "") + event.delta);
    } else if (event.type === "response.output_item.added") {
      this.begun.add(index);
      if (event.item.type === "function_call") this.arguments.set(index, "");
    } else if (event.type === "response.output_item.done") {
      this.done.set(index, event.item);
    } else if (ENDS.includes(event.type)) {
      this.final = event.response;
    }
  }

  response() {
    if (this.final === null) throw new UncleanEnd("the stream ended without response.completed, .incomplete or .failed");
    // Some clients read the items' own events, some the last one: they must learn the same.
    assert.equal(this.begun.size, this.final.output.length, "the count of items that begin");
    this.final.output.forEach((item, index) => assert.deepEqual(this.done.get(index), item, `item ${index}`));
    return this.final;
  }
}

function usage(given) {
  return {
    prompt: given.input_tokens,
    output: given.output_tokens,
    read: given.input_tokens_details.cached_tokens,
    written: given.input_tokens_details.cache_write_tokens ?? 0,
    reasoning: given.output_tokens_details.reasoning_tokens,
  };
}

export class Responses extends Chat {
  name = "responses";
  talkType = ResponsesTalk;

  isBroken(error) {
    return super.isBroken(error) || error instanceof ProviderFailed;
  }

  async leave(talk, count) {
    await readSome(await this.client.responses.create(talk.streaming()), count);
  }

  async abort(talk, signal) {
    for await (const _ of await this.client.responses.create(talk.streaming(), { signal }));
  }

  async count(model, text) {
    return (await this.client.responses.inputTokens.count({ model, input: text })).input_tokens;
  }
}
