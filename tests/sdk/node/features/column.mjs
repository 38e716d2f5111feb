// One column of the table: an SDK that speaks with a provider.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

const STATE_MS_MAX = 5000;
const PAUSE_MS = 20;
let marks = 0;

/** A thing that the matrix expects and does not find. */
export class Unexpected extends Error {}

export class Column {
  /** `make` makes a driver for a key; `keys` are those that may ask models, that are wrong, and that may only manage. */
  constructor(make, keys, provider, settings, picture) {
    this.driver = make(keys.live);
    this.withWrongKey = make(keys.wrong);
    this.withManagementKey = keys.management ? make(keys.management) : null;
    this.provider = provider;
    this.sdk = this.driver.name;
    this.model = settings.model;
    this.reasoningModel = settings.reasoning;
    this.embeddingModel = settings.embedding;
    this.failingModel = settings.failing[this.sdk];
    this.vendor = settings.vendor;
    this.picture = picture;
  }

  mark() {
    marks += 1;
    return `[node-${this.sdk}-${this.provider}-${marks}]`;
  }

  talk(text, { model = this.model, media, driver = this.driver, ...wish } = {}) {
    const talk = driver.talk(model, wish);
    if (text !== undefined) talk.user(text, media);
    return talk;
  }

  /** What the vendor remembers of the requests with a mark. */
  async state(mark) {
    return (await fetch(`${this.vendor}/_state?mark=${encodeURIComponent(mark)}`)).json();
  }

  async lastRequest(mark) {
    return (await this.state(mark)).requests.at(-1);
  }

  async stream(mark, isWanted, complaint) {
    for (const until = Date.now() + STATE_MS_MAX; Date.now() < until; await sleep(PAUSE_MS)) {
      const stream = (await this.state(mark)).streams.at(-1);
      if (stream && isWanted(stream)) return stream;
    }
    throw new Unexpected(`${complaint} after ${STATE_MS_MAX} ms`);
  }

  waitOpened(mark) {
    return this.stream(mark, () => true, "the provider has no stream");
  }

  waitClosed(mark) {
    return this.stream(mark, (stream) => stream.closed_at !== null, "the provider's connection is still open");
  }
}

export function firstLine(error) {
  return String(error?.message ?? error).trim().split("\n")[0].slice(0, 300) || error?.constructor?.name;
}

export function equal(found, wanted, what = "the answer") {
  try {
    assert.deepEqual(found, wanted);
  } catch {
    throw new Unexpected(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
  }
}

export function expect(isSo, complaint) {
  if (!isSo) throw new Unexpected(complaint);
}
