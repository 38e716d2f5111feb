-- The newest revision read of each thing whose changes are claimed and that has no table of its own, such as the catalogue of models.
CREATE TABLE revisions (
    name TEXT PRIMARY KEY,
    revision BIGINT NOT NULL
);
