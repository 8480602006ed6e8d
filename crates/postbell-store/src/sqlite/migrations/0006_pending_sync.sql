-- The version of what the machine has yet to be told; NULL where it knows everything.
ALTER TABLE instance ADD COLUMN untold INTEGER;
CREATE INDEX instance_untold ON instance (user) WHERE untold IS NOT NULL;
CREATE INDEX instance_by_machine ON instance (app, machine) WHERE app IS NOT NULL;

-- Machines that were a user's, are nobody's any more, and hold what they were told.
CREATE TABLE left_machine (
    app     TEXT NOT NULL,
    machine TEXT NOT NULL,
    PRIMARY KEY (app, machine)
) STRICT, WITHOUT ROWID;
