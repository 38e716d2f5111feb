// The `ai` package with `@openrouter/ai-sdk-provider`, which speaks Chat with OpenRouter's own fields.

import assert from "node:assert/strict";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { Cannot, Talk, UncleanEnd, reply } from "./base.mjs";
import { isMode } from "./chat.mjs";

const FINISHES = { stop: "stop", length: "length", "tool-calls": "tools", "content-filter": "filter" };

class OpenRouterTalk extends Talk {
  user(text, { image, pdf } = {}) {
    const content = [{ type: "text", text }];
    if (image) content.push({ type: "image", image, mediaType: "image/png" });
    if (pdf) content.push({ type: "file", data: pdf, mediaType: "application/pdf", filename: "a.pdf" });
    this.history.push({ role: "user", content: content.length === 1 ? text : content });
  }

  results(calls, texts, isError = false) {
    if (isError) throw new Cannot("Chat has no flag for a failed tool");
    const output = (index) => ({ type: "text", value: texts[index] });
    const content = calls.map(({ id, name }, index) => ({ type: "tool-result", toolCallId: id, toolName: name, output: output(index) }));
    this.history.push({ role: "tool", content });
  }

  languageModel() {
    const settings = {};
    if (this.wish.showsCost) settings.usage = { include: true };
    if (!this.wish.isParallel) settings.parallelToolCalls = false;
    if (this.wish.reasons) settings.reasoning = { effort: "low" };
    return this.driver.provider.chat(this.model, settings);
  }

  fields() {
    const { system, tools, choice, stop, cap } = this.wish;
    const fields = { model: this.languageModel(), messages: this.history, maxOutputTokens: cap, maxRetries: 0 };
    if (system !== null) fields.system = system;
    if (tools) fields.tools = Object.fromEntries(Object.entries(tools).map(([name, schema]) => [name, tool({ inputSchema: jsonSchema(schema) })]));
    if (choice) fields.toolChoice = isMode(choice) ? choice : { type: "tool", toolName: choice };
    if (stop) fields.stopSequences = stop;
    return fields;
  }

  async ask() {
    if (this.wish.schema !== null) {
      const answer = await generateObject({ ...this.fields(), schema: this.wish.schema });
      return reply({ text: JSON.stringify(answer.object), parsed: answer.object, finish: FINISHES[answer.finishReason], usage: usage(answer) });
    }
    return this.read(await generateText(this.fields()));
  }

  async askStreamed() {
    const pieces = [];
    let failure = null;
    // The SDK hands errors to its caller as parts of the stream.
    const stream = streamText({ ...this.fields(), onError: () => {} });
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta") pieces.push(part.text);
      if (part.type === "error") failure ??= part.error;
    }
    if (failure !== null) throw failure;
    const answer = await this.read(await settled(stream));
    if (answer.finish === "unknown" || answer.finish === "other") throw new UncleanEnd(`the stream ended with the finish ${answer.finish}`);
    assert.equal(pieces.join(""), answer.text, "the deltas and the text differ");
    return { ...answer, pieces };
  }

  /** The SDK runs the tools and asks again by itself. */
  async loopByHelper(texts) {
    const { tools, ...fields } = this.fields();
    const runs = Object.entries(this.wish.tools).map(([name, schema]) => [name, tool({ inputSchema: jsonSchema(schema), execute: () => texts[name] })]);
    const stream = streamText({ ...fields, tools: Object.fromEntries(runs), stopWhen: stepCountIs(4), onError: () => {} });
    return stream.text;
  }

  askByHelper() {
    return this.askStreamed();
  }

  read(answer) {
    this.history.push(...answer.response.messages);
    const calls = answer.toolCalls.map((call) => ({ id: call.toolCallId, name: call.toolName, arguments: call.input }));
    return reply({
      model: answer.response.modelId, text: answer.text, reasoning: answer.reasoningText ?? "", pieces: [answer.text], calls,
      finish: FINISHES[answer.finishReason] ?? answer.finishReason, usage: usage(answer),
    });
  }
}

async function settled(stream) {
  const names = ["text", "reasoningText", "toolCalls", "finishReason", "response", "usage", "providerMetadata"];
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await stream[name]])));
}

function usage(answer) {
  const { inputTokens, outputTokens, inputTokenDetails, outputTokenDetails } = answer.usage;
  return {
    prompt: inputTokens,
    output: outputTokens,
    read: inputTokenDetails?.cacheReadTokens ?? 0,
    written: inputTokenDetails?.cacheWriteTokens ?? 0,
    reasoning: outputTokenDetails?.reasoningTokens ?? 0,
    cost: answer.providerMetadata?.openrouter?.usage?.cost,
  };
}

export class OpenRouter {
  name = "openrouter";

  constructor(base, key) {
    this.provider = createOpenRouter({ apiKey: key, baseURL: `${base}/api/v1` });
  }

  talk(model, wish) {
    return new OpenRouterTalk(this, model, wish);
  }

  isRefused(error) {
    return APICallError.isInstance(error);
  }

  isError(error, status) {
    return APICallError.isInstance(error) && (status === 500 ? error.statusCode >= 500 : error.statusCode === status);
  }

  isBroken(error) {
    // A failure inside a stream comes as the error object of the chunk, or as what the connection threw.
    return APICallError.isInstance(error) || typeof error?.message === "string";
  }

  retryAfter(error) {
    return error.responseHeaders["retry-after"];
  }

  async leave(talk, count) {
    const stop = new AbortController();
    const stream = streamText({ ...talk.fields(), abortSignal: stop.signal, onError: () => {} });
    for await (const _ of stream.textStream) {
      count -= 1;
      if (count === 0) stop.abort();
    }
  }

  async abort(talk, abortSignal) {
    for await (const _ of streamText({ ...talk.fields(), abortSignal, onError: () => {} }).textStream);
  }

  async count() {
    throw new Cannot("the AI SDK has no operation that counts tokens");
  }

  async models() {
    throw new Cannot("the AI SDK has no list of models");
  }

  async embed(model, values) {
    return (await embedMany({ model: this.provider.textEmbeddingModel(model), values, maxRetries: 0 })).embeddings;
  }
}
