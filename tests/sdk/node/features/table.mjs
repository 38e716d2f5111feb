// Runs every feature in every column and prints the table.

import { AssertionError } from "node:assert";
import { Cannot, UncleanEnd } from "../drivers/base.mjs";
import { FEATURES } from "./all.mjs";
import { Unexpected, firstLine } from "./column.mjs";

const LABEL_WIDTH = 28;
const WIDTH = 11;
// What says by its message alone what is wrong.
const SPEAKING = [Unexpected, UncleanEnd, AssertionError];

/** Returns whether nothing failed. `only` keeps the rows whose names contain it. */
export async function run(columns, only = "") {
  const notes = new Notes();
  console.log(row("SDK", columns.map((column) => column.sdk)));
  console.log(row("provider", columns.map((column) => column.provider)));
  for (const [name, feature] of Object.entries(FEATURES)) {
    if (!name.includes(only)) continue;
    const cells = [];
    for (const column of columns) cells.push(await outcome(feature, column, name, notes));
    console.log(row(name, cells));
  }
  notes.print();
  return notes.failures.length === 0;
}

function row(label, cells) {
  return label.padEnd(LABEL_WIDTH) + cells.map((cell) => cell.padEnd(WIDTH)).join("");
}

async function outcome(feature, column, name, notes) {
  const place = `${name}, ${column.sdk} → ${column.provider}`;
  try {
    await feature(column);
    return "ok";
  } catch (error) {
    if (error instanceof Cannot) return `— ${notes.ofCannot(error.message)}`;
    return `FAIL ${notes.failures.push(`${place}: ${described(error)}`)}`;
  }
}

/** A bug in the tests themselves shows its line. */
function described(error) {
  const text = `${error?.constructor?.name}: ${firstLine(error)}`;
  if (SPEAKING.some((kind) => error instanceof kind)) return text;
  const line = String(error?.stack).match(/(?:features|drivers)\/\w+\.mjs:\d+/)?.[0];
  return line ? `${text} (line ${line})` : text;
}

/** The explanations under the table. */
class Notes {
  cannots = [];
  failures = [];

  ofCannot(reason) {
    if (!this.cannots.includes(reason)) this.cannots.push(reason);
    return letter(this.cannots.indexOf(reason));
  }

  print() {
    console.log();
    this.cannots.forEach((reason, index) => console.log(`— ${letter(index)}: ${reason}`));
    this.failures.forEach((reason, index) => console.log(`FAIL ${index + 1}: ${reason}`));
  }
}

function letter(index) {
  return String.fromCharCode("a".charCodeAt(0) + index);
}
