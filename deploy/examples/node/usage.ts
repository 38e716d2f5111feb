// Writes every usage event of an account to a file, one a line, each once: over restarts and kills of this program, of ARouter and of NATS.
//
// The server keeps the place of the consumer. An event is acknowledged after it is on the disk, so none is lost; one that comes again is
// skipped by its id.
//
// Usage: npm install, then node --import tsx usage.ts NATS_URL FILE      needs: Node 20 or newer
// `arouter admin consumer create NAME --account ID` prints the address. Its user has the name of the durable consumer.

import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { jetstream, type JsMsg } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const STREAM = "USAGE";

/** Returns the ids of the events in the file. Removes a torn last line. */
function readIds(file: number, path: string): Set<string> {
    const bytes = readFileSync(path);
    const whole = bytes.lastIndexOf("\n") + 1;
    ftruncateSync(file, whole);
    const lines = bytes.subarray(0, whole).toString().split("\n").filter(Boolean);
    return new Set(lines.map((line) => JSON.parse(line).id));
}

/** Reads on until the connection breaks. */
async function follow(url: string, file: number, path: string): Promise<void> {
    const ids = readIds(file, path);
    const address = new URL(url);
    const connection = await connect({ servers: address.host, user: address.username, pass: address.password, reconnect: false });
    try {
        const consumer = await jetstream(connection).consumers.get(STREAM, address.username);
        for (;;) {
            const arrived: JsMsg[] = [];
            for await (const message of await consumer.fetch({ max_messages: 500, expires: 1_000 })) {
                const event = message.json<{ id: string }>();
                if (!ids.has(event.id)) {
                    ids.add(event.id);
                    writeSync(file, message.string() + "\n");
                }
                arrived.push(message);
            }
            fsyncSync(file);
            arrived.forEach((message) => message.ack());
            // A consumer that the server has lost would be silent for ever.
            await consumer.info();
        }
    } finally {
        await connection.close();
    }
}

const [url, path] = process.argv.slice(2);
for (;;) {
    const file = openSync(path, "a+");
    try {
        await follow(url, file, path);
    } catch (error) {
        console.error(`reading again in a second: ${error}`);
        await new Promise((later) => setTimeout(later, 1_000));
    } finally {
        closeSync(file);
    }
}
