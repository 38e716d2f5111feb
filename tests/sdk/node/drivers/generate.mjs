// The `@google/genai` package.

import { ApiError, GoogleGenAI, createPartFromBase64, createPartFromFunctionResponse, createPartFromText } from "@google/genai";
import { z } from "zod";
import { Cannot, Talk, UncleanEnd, base64, collect, readSome, reply } from "./base.mjs";

const FINISHES = { STOP: "stop", MAX_TOKENS: "length", SAFETY: "filter", PROHIBITED_CONTENT: "filter", BLOCKLIST: "filter", RECITATION: "filter" };
const MODES = { auto: "AUTO", none: "NONE", required: "ANY" };

class GenerateTalk extends Talk {
  constructor(driver, model, wish) {
    super(driver, model, wish);
    if (!this.wish.isParallel) throw new Cannot("Generate cannot ask for one call at a time");
  }

  user(text, { image, pdf } = {}) {
    const parts = [createPartFromText(text)];
    if (image) parts.push(createPartFromBase64(base64(image), "image/png"));
    if (pdf) parts.push(createPartFromBase64(base64(pdf), "application/pdf"));
    this.history.push({ role: "user", parts });
  }

  results(calls, texts, isError = false) {
    const key = isError ? "error" : "output";
    // Without an id, as older examples do it: results are matched by their names and their order.
    const parts = calls.map((call, index) => ({ functionResponse: { name: call.name, response: { [key]: texts[index] } } }));
    this.history.push({ role: "user", parts });
  }

  fields() {
    const { system, tools, choice, schema, reasons, stop, cap } = this.wish;
    const config = { maxOutputTokens: cap };
    if (system !== null) config.systemInstruction = system;
    if (tools) config.tools = [declared(tools)];
    if (choice) config.toolConfig = { functionCallingConfig: MODES[choice] ? { mode: MODES[choice] } : { mode: "ANY", allowedFunctionNames: [choice] } };
    if (reasons) config.thinkingConfig = { includeThoughts: true, thinkingBudget: 2048 };
    if (stop) config.stopSequences = stop;
    if (schema !== null) Object.assign(config, { responseMimeType: "application/json", responseJsonSchema: z.toJSONSchema(schema) });
    return { model: this.model, contents: this.history, config };
  }

  async ask() {
    const answer = this.read([await this.driver.client.models.generateContent(this.fields())]);
    // The SDK has no parser of its own: its documentation parses the text.
    return this.wish.schema === null ? answer : { ...answer, parsed: this.wish.schema.parse(JSON.parse(answer.text)) };
  }

  async askStreamed() {
    return this.read(await collect(await this.driver.client.models.generateContentStream(this.fields())));
  }

  /** The SDK's own chat keeps the history itself. */
  async askByHelper() {
    const { model, contents, config } = this.fields();
    const chat = this.driver.client.chats.create({ model, config, history: contents.slice(0, -1) });
    return this.read(await collect(await chat.sendMessageStream({ message: contents.at(-1).parts })));
  }

  /** The SDK runs the tools and asks again by itself. */
  async loopByHelper(texts) {
    const { config, ...fields } = this.fields();
    const callTool = async (calls) => calls.map(({ id, name }) => createPartFromFunctionResponse(id, name, { output: texts[name] }));
    const tools = [{ tool: async () => declared(this.wish.tools), callTool }];
    return (await this.driver.client.models.generateContent({ ...fields, config: { ...config, tools } })).text;
  }

  /** Reads the chunks of a stream, or the only one of a whole answer. */
  read(chunks) {
    const finishes = chunks.map(finishOf).filter((finish) => finish !== null);
    if (finishes.length === 0) throw new UncleanEnd("the stream ended without a finishReason");
    if (finishes.length > 1) throw new UncleanEnd("a candidate finishes twice");
    const parts = chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []);
    // Every part goes back as it came: a signature is bound to its part.
    if (parts.length) this.history.push({ role: "model", parts });
    const calls = parts.filter((part) => part.functionCall).map((part) => readCall(part.functionCall));
    const texts = parts.filter((part) => part.text && !part.thought).map((part) => part.text);
    const last = chunks.at(-1);
    return reply({
      model: last.modelVersion, text: texts.join(""), reasoning: parts.filter((part) => part.text && part.thought).map((part) => part.text).join(""),
      pieces: texts, calls, finish: calls.length && finishes[0] === "stop" ? "tools" : finishes[0], usage: usage(last.usageMetadata),
    });
  }
}

function declared(tools) {
  return { functionDeclarations: Object.entries(tools).map(([name, parametersJsonSchema]) => ({ name, parametersJsonSchema })) };
}

function finishOf(chunk) {
  if (chunk.promptFeedback?.blockReason) return "filter";
  const name = chunk.candidates?.[0]?.finishReason;
  return name ? (FINISHES[name] ?? name) : null;
}

function readCall(call) {
  return { id: call.id, name: call.name, arguments: call.args ?? {} };
}

function usage(given) {
  const reasoning = given.thoughtsTokenCount ?? 0;
  const output = (given.candidatesTokenCount ?? 0) + reasoning;
  return { prompt: given.promptTokenCount, output, read: given.cachedContentTokenCount ?? 0, written: 0, reasoning };
}

export class Generate {
  name = "generate";

  constructor(base, key) {
    this.client = new GoogleGenAI({ apiKey: key, vertexai: false, httpOptions: { baseUrl: base, timeout: 30_000 } });
  }

  talk(model, wish) {
    return new GenerateTalk(this, model, wish);
  }

  isRefused(error) {
    return error instanceof ApiError;
  }

  isError(error, status) {
    return error instanceof ApiError && (status === 500 ? error.status >= 500 : error.status === status);
  }

  isBroken(error) {
    // This SDK throws plain errors for what it cannot read.
    return error instanceof ApiError || /JSON|stream|sending request|terminated/i.test(error.message);
  }

  retryAfter(error) {
    // The SDK drops the headers; the body stands in the message.
    return error.message.match(/"retryDelay":"(\d+)s"/)?.[1];
  }

  async leave(talk, count) {
    const stop = new AbortController();
    await readSome(await this.client.models.generateContentStream(aborted(talk, stop.signal)), count);
    // Leaving the loop is not enough for this SDK: its documentation wants the signal.
    stop.abort();
  }

  async abort(talk, signal) {
    for await (const _ of await this.client.models.generateContentStream(aborted(talk, signal)));
  }

  async count(model, text) {
    return (await this.client.models.countTokens({ model, contents: text })).totalTokens;
  }

  async models() {
    return (await collect(await this.client.models.list())).map((model) => short(model.name));
  }

  async model(name) {
    return short((await this.client.models.get({ model: name })).name);
  }

  async embed(model, texts) {
    return (await this.client.models.embedContent({ model, contents: texts })).embeddings.map((item) => item.values);
  }
}

function aborted(talk, abortSignal) {
  const fields = talk.fields();
  return { ...fields, config: { ...fields.config, abortSignal } };
}

function short(name) {
  return name.replace(/^models\//, "");
}
