-- Readers of one stream that share its partitions: what each has read and posted, and a number that grows while it lives.
CREATE TABLE members (
    member TEXT PRIMARY KEY,
    stream TEXT NOT NULL,
    node TEXT NOT NULL,
    beat BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    chain TEXT NOT NULL
);

-- What tells one history of a stream up to the checkpoint from another.
ALTER TABLE checkpoints ADD COLUMN chain TEXT NOT NULL DEFAULT '';

-- Whose events each of them applies; `epoch` counts the changes. Nobody's: the owner is empty.
CREATE TABLE partitions (
    stream TEXT NOT NULL,
    partition BIGINT NOT NULL,
    owner TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (stream, partition)
);
