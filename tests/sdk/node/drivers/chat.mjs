// The `openai` package, Chat Completions.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { Cannot, Talk, UncleanEnd, dataUrl, readSome, reply } from "./base.mjs";

const FINISHES = { stop: "stop", length: "length", tool_calls: "tools", content_filter: "filter" };

class ChatTalk extends Talk {
  constructor(driver, model, wish) {
    super(driver, model, wish);
    if (this.wish.system !== null) this.history.push({ role: "system", content: this.wish.system });
  }

  user(text, { image, pdf } = {}) {
    const parts = [{ type: "text", text }];
    if (image) parts.push({ type: "image_url", image_url: { url: dataUrl("image/png", image) } });
    if (pdf) parts.push({ type: "file", file: { filename: "a.pdf", file_data: dataUrl("application/pdf", pdf) } });
    this.history.push({ role: "user", content: parts.length === 1 ? text : parts });
  }

  results(calls, texts, isError = false) {
    if (isError) throw new Cannot("Chat has no flag for a failed tool");
    calls.forEach((call, index) => this.history.push({ role: "tool", tool_call_id: call.id, content: texts[index] }));
  }

  fields() {
    const { tools, choice, isParallel, reasons, stop, cap } = this.wish;
    const fields = { model: this.model, messages: this.history, max_completion_tokens: cap };
    if (tools) fields.tools = Object.entries(tools).map(([name, parameters]) => ({ type: "function", function: { name, parameters } }));
    if (choice) fields.tool_choice = isMode(choice) ? choice : { type: "function", function: { name: choice } };
    if (!isParallel) fields.parallel_tool_calls = false;
    if (reasons) fields.reasoning_effort = "low";
    if (stop) fields.stop = stop;
    return fields;
  }

  async ask() {
    const { completions } = this.driver.client.chat;
    if (this.wish.schema === null) return this.read(await completions.create(this.fields()));
    return this.read(await completions.parse({ ...this.fields(), response_format: zodResponseFormat(this.wish.schema, "answer") }));
  }

  streaming() {
    return { ...this.fields(), stream: true, stream_options: { include_usage: true } };
  }

  async askStreamed() {
    const gathered = new Gathered();
    for await (const chunk of await this.driver.client.chat.completions.create(this.streaming())) gathered.take(chunk);
    this.history.push(gathered.message());
    return gathered.reply();
  }

  /** The SDK's own helper puts the stream together. */
  async askByHelper() {
    const pieces = [];
    const stream = this.driver.client.chat.completions.stream(this.streaming());
    stream.on("content", (piece) => pieces.push(piece));
    const answer = this.read(await stream.finalChatCompletion());
    this.history.push(withoutHelp(this.history.pop()));
    return { ...answer, pieces };
  }

  /** The SDK runs the tools and asks again by itself. */
  async loopByHelper(texts) {
    const tools = Object.entries(this.wish.tools).map(([name, parameters]) => ({
      type: "function",
      function: { name, parameters, parse: JSON.parse, function: () => texts[name] },
    }));
    return this.driver.client.chat.completions.runTools({ ...this.streaming(), tools }).finalContent();
  }

  read(answer) {
    const { message, finish_reason } = answer.choices[0];
    // The documented way to go on: the SDK's own object is appended.
    this.history.push(message);
    const finish = message.refusal ? "filter" : (FINISHES[finish_reason] ?? finish_reason);
    const text = message.content ?? "";
    const calls = (message.tool_calls ?? []).map(readCall);
    return reply({
      model: answer.model, text, reasoning: thoughts(message), pieces: [text], calls, finish, usage: usage(answer.usage), parsed: message.parsed,
    });
  }
}

/** A stream put together as a careful client does it, with the fields that the SDK does not know. */
class Gathered {
  constructor() {
    Object.assign(this, { model: "", texts: [], refusal: "", finishReason: null, usage: null, calls: [], details: new Map(), content: "" });
  }

  take(chunk) {
    this.model = chunk.model;
    this.usage = chunk.usage ?? this.usage;
    for (const choice of chunk.choices) {
      if (this.finishReason !== null) throw new UncleanEnd("a choice goes on after its finish");
      this.finishReason = choice.finish_reason ?? null;
      this.takeDelta(choice.delta);
    }
  }

  takeDelta(delta) {
    if (delta.content) this.texts.push(delta.content);
    this.refusal += delta.refusal ?? "";
    for (const piece of delta.tool_calls ?? []) {
      this.calls[piece.index] ??= { id: piece.id, type: "function", function: { name: piece.function.name, arguments: "" } };
      this.calls[piece.index].function.arguments += piece.function.arguments ?? "";
    }
    this.content += delta.reasoning_content ?? "";
    for (const detail of delta.reasoning_details ?? []) this.takeDetail(detail);
  }

  takeDetail(detail) {
    const key = `${detail.index} ${detail.type}`;
    const known = this.details.get(key) ?? {};
    for (const [name, value] of Object.entries(detail)) {
      const isGrowing = ["text", "summary", "data"].includes(name) && typeof value === "string";
      known[name] = isGrowing ? (known[name] ?? "") + value : (value ?? known[name]);
    }
    this.details.set(key, known);
  }

  message() {
    const message = { role: "assistant", content: this.texts.join("") || null };
    if (this.calls.length) message.tool_calls = this.calls;
    if (this.details.size) message.reasoning_details = [...this.details.values()];
    if (this.content) message.reasoning_content = this.content;
    return message;
  }

  reply() {
    if (this.finishReason === null) throw new UncleanEnd("the stream ended without a finish_reason");
    if (this.usage === null) throw new UncleanEnd("the stream has no usage");
    const finish = this.refusal ? "filter" : (FINISHES[this.finishReason] ?? this.finishReason);
    return reply({
      model: this.model, text: this.texts.join(""), reasoning: thoughts(this.message()), pieces: this.texts, calls: this.calls.map(readCall), finish,
      usage: usage(this.usage),
    });
  }
}

/** The helper's own fields are no part of a request: OpenAI refuses them too, and the SDK's own loop strips them. */
function withoutHelp({ parsed, tool_calls, ...message }) {
  if (!tool_calls?.length) return message;
  return { ...message, tool_calls: tool_calls.map(({ id, type, function: { name, arguments: text } }) => ({ id, type, function: { name, arguments: text } })) };
}

export function isMode(choice) {
  return ["auto", "none", "required"].includes(choice);
}

function readCall(call) {
  return { id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments || "{}") };
}

/** Returns the shown reasoning of a message, from any of the fields in use. */
function thoughts(message) {
  const details = (message.reasoning_details ?? []).map((detail) => detail.text ?? detail.summary ?? "");
  return details.join("") || message.reasoning_content || message.reasoning || "";
}

function usage(given) {
  return {
    prompt: given.prompt_tokens,
    output: given.completion_tokens,
    read: given.prompt_tokens_details?.cached_tokens ?? 0,
    written: given.prompt_tokens_details?.cache_write_tokens ?? 0,
    reasoning: given.completion_tokens_details?.reasoning_tokens ?? 0,
  };
}

export class Chat {
  name = "chat";
  talkType = ChatTalk;
  errors = {
    400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError, 404: OpenAI.NotFoundError,
    429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError,
  };

  constructor(base, key) {
    this.client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 });
  }

  talk(model, wish) {
    return new this.talkType(this, model, wish);
  }

  /** Whether it is what the gateway's refusals throw. */
  isRefused(error) {
    return error instanceof OpenAI.APIError;
  }

  isError(error, status) {
    return error instanceof this.errors[status];
  }

  isBroken(error) {
    return error instanceof OpenAI.APIError;
  }

  retryAfter(error) {
    return error.headers.get("retry-after");
  }

  /** Opens a stream, reads some of it and leaves it. */
  async leave(talk, count) {
    await readSome(await this.client.chat.completions.create(talk.streaming()), count);
  }

  /** Opens a stream and aborts it from outside. */
  async abort(talk, signal) {
    for await (const _ of await this.client.chat.completions.create(talk.streaming(), { signal }));
  }

  async count() {
    throw new Cannot("Chat has no operation that counts tokens");
  }

  async models() {
    const ids = [];
    for await (const model of this.client.models.list()) ids.push(model.id);
    return ids;
  }

  async model(name) {
    return (await this.client.models.retrieve(name)).id;
  }

  async embed(model, texts) {
    return (await this.client.embeddings.create({ model, input: texts })).data.map((item) => item.embedding);
  }
}
