CREATE TABLE instance (
    user          TEXT    NOT NULL PRIMARY KEY,
    sandbox_id    TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    -- On Fly, or at a URL of its own; all NULL where nobody has said yet.
    app           TEXT,
    machine       TEXT,
    url           TEXT,
    -- The connected Google account; all NULL where none is.
    connected_at  INTEGER,
    email         TEXT,
    push_account  TEXT,
    notifications INTEGER NOT NULL,
    history_id    TEXT,
    wake_on_mail  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- Grows with each write.
    version       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX instance_by_sandbox ON instance (sandbox_id);
CREATE INDEX instance_by_email ON instance (email, user) WHERE email IS NOT NULL;

-- Apart from the records, which stay small so that a list of them is read from few pages.
CREATE TABLE credential (
    user        TEXT NOT NULL PRIMARY KEY,
    -- Which key it is encrypted with.
    sealed_with TEXT NOT NULL,
    sealed      BLOB NOT NULL
) STRICT;
CREATE INDEX credential_by_key ON credential (sealed_with);

-- To count a million rows takes a while; this is always known.
CREATE TABLE instance_count (number INTEGER NOT NULL) STRICT;
INSERT INTO instance_count VALUES (0);
CREATE TRIGGER instance_added AFTER INSERT ON instance
    BEGIN UPDATE instance_count SET number = number + 1; END;
CREATE TRIGGER instance_removed AFTER DELETE ON instance
    BEGIN UPDATE instance_count SET number = number - 1; END;
