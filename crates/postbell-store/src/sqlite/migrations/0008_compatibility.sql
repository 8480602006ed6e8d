-- One row: the oldest schema version whose code can read and write this file.
CREATE TABLE compatibility (min_version INTEGER NOT NULL) STRICT;
INSERT INTO compatibility VALUES (8);
