-- Who has changed what, of whom, when and from where. Entries are only appended; those that are old enough are
-- deleted (AUDIT_KEPT).
CREATE TABLE audit (
    number  int8 PRIMARY KEY,
    at      int8 NOT NULL,
    actor   text NOT NULL,
    origin  text NOT NULL,
    action  text COLLATE "C" NOT NULL,
    user_id text COLLATE "C",
    detail  text NOT NULL
);
CREATE INDEX audit_by_user ON audit (user_id, number) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at);
CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at <= (SELECT at FROM audit ORDER BY number DESC LIMIT 1) - 31622400000 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit();

-- API keys of operators, and tokens of users. Only digests are stored.
CREATE TABLE access_token (
    id           text COLLATE "C" PRIMARY KEY,
    -- SHA-256 of the token.
    digest       bytea NOT NULL UNIQUE,
    name         text NOT NULL,
    scope        text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C",
    created_at   int8 NOT NULL,
    expires_at   int8 NOT NULL,
    last_used_at int8
);
CREATE INDEX access_token_by_user ON access_token (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX access_token_by_end ON access_token (expires_at);

-- Whether the operator may only look.
ALTER TABLE sign_in_link ADD COLUMN viewer bool NOT NULL DEFAULT false;

CREATE INDEX user_record_by_watch_end ON user_record (watch_expires_at, user_id) WHERE watch_expires_at IS NOT NULL;
