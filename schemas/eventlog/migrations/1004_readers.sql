-- Positions, sources and quarantine belong to a reader by its name, so that several readers of one process can read one stream.
-- A reader is named after its stream here; the process's own migration gives it its name.
ALTER TABLE checkpoints RENAME COLUMN stream TO reader;
ALTER TABLE sources RENAME COLUMN stream TO reader;
ALTER TABLE members RENAME COLUMN stream TO reader;
ALTER TABLE partitions RENAME COLUMN stream TO reader;
CREATE TABLE quarantine_of_readers (
    reader TEXT NOT NULL,
    stream TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    quarantined_at_us BIGINT NOT NULL,
    freezes_account TEXT,
    decision TEXT,
    decided_at_us BIGINT,
    PRIMARY KEY (reader, sequence, event_id)
);
INSERT INTO quarantine_of_readers
    SELECT stream, stream, sequence, event_id, reason, payload, quarantined_at_us, freezes_account, decision, decided_at_us FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantine_of_readers RENAME TO quarantine;
CREATE INDEX quarantine_frozen ON quarantine (freezes_account) WHERE decision IS NULL;
