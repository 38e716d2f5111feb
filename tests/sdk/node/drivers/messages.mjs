// The `@anthropic-ai/sdk` package, Messages.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { Cannot, Talk, UncleanEnd, base64, readSome, reply } from "./base.mjs";

const FINISHES = { end_turn: "stop", stop_sequence: "stop", max_tokens: "length", tool_use: "tools", refusal: "filter" };
const CHOICES = { auto: { type: "auto" }, none: { type: "none" }, required: { type: "any" } };

class MessagesTalk extends Talk {
  user(text, { image, pdf } = {}) {
    const blocks = [{ type: "text", text }];
    if (image) blocks.push({ type: "image", source: source("image/png", image) });
    if (pdf) blocks.push({ type: "document", source: source("application/pdf", pdf) });
    this.history.push({ role: "user", content: blocks.length === 1 ? text : blocks });
  }

  results(calls, texts, isError = false) {
    const flag = isError ? { is_error: true } : {};
    const content = calls.map((call, index) => ({ type: "tool_result", tool_use_id: call.id, content: texts[index], ...flag }));
    this.history.push({ role: "user", content });
  }

  fields() {
    const { system, tools, choice, isParallel, schema, reasons, stop, cap } = this.wish;
    const fields = { model: this.model, messages: this.history, max_tokens: cap };
    if (system !== null) fields.system = system;
    if (tools) fields.tools = Object.entries(tools).map(([name, input_schema]) => ({ name, input_schema }));
    if (choice || !isParallel) fields.tool_choice = { ...(CHOICES[choice ?? "auto"] ?? { type: "tool", name: choice }) };
    if (!isParallel) fields.tool_choice.disable_parallel_tool_use = true;
    if (reasons) Object.assign(fields, { thinking: { type: "adaptive", display: "summarized" }, output_config: { effort: "low" } });
    if (schema !== null) fields.output_config = { format: zodOutputFormat(schema) };
    if (stop) fields.stop_sequences = stop;
    return fields;
  }

  async ask() {
    const { messages } = this.driver.client;
    return this.read(await (this.wish.schema === null ? messages.create(this.fields()) : messages.parse(this.fields())));
  }

  /** The raw events, as a client reads them that wants no helper. */
  async askStreamed() {
    let text = "", stop = null, isStopped = false;
    for await (const event of await this.driver.client.messages.create({ ...this.again(), stream: true })) {
      if (event.type === "content_block_delta" && event.delta.type === "text_delta") text += event.delta.text;
      if (event.type === "message_delta") stop = event.delta.stop_reason;
      if (event.type === "message_stop") isStopped = true;
    }
    if (stop === null || !isStopped) throw new UncleanEnd("the stream ended without a stop_reason and message_stop");
    const answer = await this.askByHelper();
    assert.equal(text, answer.text, "the raw events and the helper differ");
    return answer;
  }

  /** The same request a second time must not change the history. */
  again() {
    return { ...this.fields(), messages: [...this.history] };
  }

  async askByHelper() {
    const pieces = [];
    const stream = this.driver.client.messages.stream(this.fields());
    stream.on("text", (piece) => pieces.push(piece));
    const message = await stream.finalMessage();
    if (message.stop_reason === null) throw new UncleanEnd("the stream ended without a stop_reason");
    const answer = this.read(message);
    assert.equal(pieces.join(""), answer.text, "the deltas and the message differ");
    return { ...answer, pieces };
  }

  /** The SDK runs the tools and asks again by itself; by its default it lets the server keep the conversation, which no gateway can. */
  async loopByHelper(texts) {
    const tools = Object.entries(this.wish.tools).map(([name, inputSchema]) => betaTool({ name, inputSchema, description: name, run: () => texts[name] }));
    const answer = await this.driver.client.beta.messages.toolRunner({ ...this.fields(), tools, thread: false, stream: true }).runUntilDone();
    return answer.content.filter((block) => block.type === "text").map((block) => block.text).join("");
  }

  read(answer) {
    this.history.push({ role: "assistant", content: answer.content });
    const of = (type) => answer.content.filter((block) => block.type === type);
    const text = of("text").map((block) => block.text).join("");
    return reply({
      model: answer.model, text, reasoning: of("thinking").map((block) => block.thinking).join(""), pieces: [text],
      calls: of("tool_use").map((block) => ({ id: block.id, name: block.name, arguments: block.input })),
      finish: FINISHES[answer.stop_reason] ?? answer.stop_reason, usage: usage(answer.usage), parsed: answer.parsed_output,
    });
  }
}

function source(kind, bytes) {
  return { type: "base64", media_type: kind, data: base64(bytes) };
}

function usage(given) {
  const read = given.cache_read_input_tokens ?? 0;
  const written = given.cache_creation_input_tokens ?? 0;
  const reasoning = given.output_tokens_details?.thinking_tokens ?? 0;
  return { prompt: given.input_tokens + read + written, output: given.output_tokens, read, written, reasoning };
}

export class Messages {
  name = "messages";
  errors = {
    400: Anthropic.BadRequestError, 401: Anthropic.AuthenticationError, 403: Anthropic.PermissionDeniedError, 404: Anthropic.NotFoundError,
    429: Anthropic.RateLimitError, 500: Anthropic.InternalServerError,
  };

  constructor(base, key) {
    this.client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0, timeout: 30_000 });
  }

  talk(model, wish) {
    return new MessagesTalk(this, model, wish);
  }

  isRefused(error) {
    return error instanceof Anthropic.APIError;
  }

  isError(error, status) {
    return error instanceof this.errors[status];
  }

  isBroken(error) {
    return error instanceof Anthropic.AnthropicError;
  }

  retryAfter(error) {
    return error.headers.get("retry-after");
  }

  async leave(talk, count) {
    await readSome(await this.client.messages.create({ ...talk.fields(), stream: true }), count);
  }

  async abort(talk, signal) {
    for await (const _ of await this.client.messages.create({ ...talk.fields(), stream: true }, { signal }));
  }

  async count(model, text) {
    return (await this.client.messages.countTokens({ model, messages: [{ role: "user", content: text }] })).input_tokens;
  }

  async models() {
    const ids = [];
    for await (const model of this.client.models.list()) ids.push(model.id);
    return ids;
  }

  async model(name) {
    return (await this.client.models.retrieve(name)).id;
  }

  async embed() {
    throw new Cannot("Anthropic has no embeddings");
  }
}
