-- Readers of one stream that share its partitions: what each has read and posted, and a number that grows while it lives.
CREATE TABLE members (
    member TEXT PRIMARY KEY,
    stream TEXT NOT NULL,
    node TEXT NOT NULL,
    beat BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    event_id TEXT NOT NULL
);

-- Whose events each of them applies; `epoch` counts the changes. Nobody's: the owner is empty.
CREATE TABLE partitions (
    stream TEXT NOT NULL,
    partition BIGINT NOT NULL,
    owner TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (stream, partition)
);
