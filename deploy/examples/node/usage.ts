// Writes every usage event of ARouter to a file, one a line, each once: over restarts and kills of this program, of ARouter and of NATS.
//
// The file is the place: its last whole line says up to where the stream was read. If the stream was made anew, it is read from its start,
// and events that the file has are skipped by their id.
//
// Usage: npm install, then node --import tsx usage.ts NATS_URL FILE      needs: Node 20 or newer
// The address, with the reader's credentials, is `nats_url` in first-run.json.

import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { AckPolicy, DeliverPolicy, jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const STREAM = "USAGE";
const SUBJECT = "arouter.v1.usage.>";

type Place = { stream: string; sequence: number; ids: Set<string> };

/** Returns the place behind the last whole line. Removes a torn last line. */
function readPlace(file: number, path: string): Place {
    const bytes = readFileSync(path);
    const whole = bytes.lastIndexOf("\n") + 1;
    ftruncateSync(file, whole);
    const place: Place = { stream: "", sequence: 0, ids: new Set() };
    for (const line of bytes.subarray(0, whole).toString().split("\n").filter(Boolean)) {
        const row = JSON.parse(line);
        [place.stream, place.sequence] = [row.stream, row.sequence];
        place.ids.add(row.event.id);
    }
    return place;
}

/** Reads on from the file's place until the connection breaks. */
async function follow(url: string, file: number, path: string): Promise<void> {
    const { stream, sequence, ids } = readPlace(file, path);
    const address = new URL(url);
    const connection = await connect({ servers: address.host, user: address.username, pass: address.password, reconnect: false });
    try {
        const js = jetstream(connection);
        // Readers may not ask for the limits of the account, so that check is left out.
        const manager = await js.jetstreamManager(false);
        const info = await manager.streams.info(STREAM);
        const start = stream === info.created && sequence <= info.state.last_seq ? sequence + 1 : 1;
        const made = await manager.consumers.add(STREAM, {
            ack_policy: AckPolicy.None,
            deliver_policy: DeliverPolicy.StartSequence,
            filter_subject: SUBJECT,
            inactive_threshold: 60_000_000_000,
            opt_start_seq: start,
        });
        const consumer = await js.consumers.get(STREAM, made.name);
        let expected = 1;
        for (;;) {
            const messages = await consumer.fetch({ max_messages: 500, expires: 1_000 });
            for await (const message of messages) {
                if (message.info.deliverySequence !== expected++) {
                    throw new Error("a message was lost on the way");
                }
                const event = message.json<{ id: string }>();
                if (!ids.has(event.id)) {
                    ids.add(event.id);
                    writeSync(file, JSON.stringify({ stream: info.created, sequence: message.seq, event }) + "\n");
                }
            }
            fsyncSync(file);
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
