-- The names of this process's readers, where a database is older than they are.
UPDATE checkpoints SET reader = 'generations' WHERE reader = 'USAGE';
UPDATE sources SET reader = 'generations' WHERE reader = 'USAGE';
UPDATE quarantine SET reader = 'generations' WHERE reader = 'USAGE';
UPDATE checkpoints SET reader = 'arrivals' WHERE reader = 'REQUESTS';
UPDATE sources SET reader = 'arrivals' WHERE reader = 'REQUESTS';
UPDATE quarantine SET reader = 'arrivals' WHERE reader = 'REQUESTS';
UPDATE checkpoints SET reader = 'key_names' WHERE reader = 'CONTROL';
UPDATE sources SET reader = 'key_names' WHERE reader = 'CONTROL';
UPDATE quarantine SET reader = 'key_names' WHERE reader = 'CONTROL';
