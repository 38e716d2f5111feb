-- Where the reader is in each stream, in the same transaction as what it made of the events.
CREATE TABLE checkpoints (
    stream TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    event_id TEXT NOT NULL
);

-- Up to where every event of a source has been read, and which ones beyond a gap (JSON pairs of first and last).
CREATE TABLE sources (
    source TEXT NOT NULL,
    stream TEXT NOT NULL,
    watermark BIGINT NOT NULL,
    beyond TEXT NOT NULL,
    PRIMARY KEY (source, stream)
);

-- Events that could not be applied, as they came.
CREATE TABLE quarantine (
    stream TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    quarantined_at_us BIGINT NOT NULL,
    PRIMARY KEY (stream, sequence, event_id)
);
