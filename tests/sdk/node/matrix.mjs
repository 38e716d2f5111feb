// Every SDK against every provider format, through a running gateway with the simulated vendors behind it.
//
// Usage: matrix.mjs BASE_URL LIVE_KEY --columns FILE [--management-key KEY] [--rows TEXT] [--sdk NAME] [--provider NAME]
// FILE is what columns.py prints.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DRIVERS } from "./drivers/all.mjs";
import { Column } from "./features/column.mjs";
import { run } from "./features/table.mjs";

const OPTIONS = ["columns", "management-key", "rows", "sdk", "provider"];
const WRONG_KEY = "lr_live_wrong";

function columns([baseUrl, liveKey], options) {
  const { picture, providers } = JSON.parse(readFileSync(options.columns, "utf8"));
  const keys = { live: liveKey, wrong: WRONG_KEY, management: options["management-key"] };
  const chosen = (names, name) => names.filter((one) => name === undefined || one === name);
  return chosen(Object.keys(DRIVERS), options.sdk).flatMap((sdk) =>
    chosen(Object.keys(providers), options.provider).map((provider) => {
      const make = (key) => new DRIVERS[sdk](rootOf(baseUrl), key);
      return new Column(make, keys, provider, providers[provider], Buffer.from(picture, "hex"));
    }),
  );
}

/** Returns the address without the path that OpenAI's SDKs want in it. */
function rootOf(baseUrl) {
  return baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "").replace(/\/api$/, "");
}

const types = Object.fromEntries(OPTIONS.map((name) => [name, { type: "string" }]));
const { positionals, values } = parseArgs({ options: types, allowPositionals: true });
// The AI SDK prints its warnings otherwise.
globalThis.AI_SDK_LOG_WARNINGS = false;
// Ends by itself connections that the SDKs keep open.
process.exit((await run(columns(positionals, values), values.rows)) ? 0 : 1);
