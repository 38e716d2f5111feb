-- The names of this process's readers, where a database is older than they are.
UPDATE checkpoints SET reader = 'postings' WHERE reader = 'USAGE';
UPDATE sources SET reader = 'postings' WHERE reader = 'USAGE';
UPDATE quarantine SET reader = 'postings' WHERE reader = 'USAGE';
UPDATE members SET reader = 'postings' WHERE reader = 'USAGE';
UPDATE partitions SET reader = 'postings' WHERE reader = 'USAGE';
UPDATE checkpoints SET reader = 'directory' WHERE reader = 'CONTROL';
UPDATE sources SET reader = 'directory' WHERE reader = 'CONTROL';
UPDATE quarantine SET reader = 'directory' WHERE reader = 'CONTROL';
UPDATE members SET reader = 'directory' WHERE reader = 'CONTROL';
UPDATE partitions SET reader = 'directory' WHERE reader = 'CONTROL';
