-- One row: the version of this schema, and the oldest version whose code can work with it.
CREATE TABLE schema_version (version int4 NOT NULL, min_version int4 NOT NULL);
INSERT INTO schema_version VALUES (0, 0);

-- A row only while a notification waits, or a failure of the mailbox is not over. Vacuumed often: rows
-- come and go with each notification, and a small table is read from memory.
CREATE TABLE pending (
    user_id              text COLLATE "C" PRIMARY KEY,
    -- The notification; all NULL if none waits.
    message_id           text COLLATE "C",
    history_id           text COLLATE "C",
    address              text COLLATE "C",
    published_at         int8,
    accepted_at          int8,
    -- Further messages with the same history id, separated by spaces.
    merged_ids           text COLLATE "C" NOT NULL DEFAULT '',
    -- When the mailbox began to wait; a newer notification does not change it.
    waiting_since        int8,
    -- When it may be claimed; the end of the lease while it is claimed.
    due_at               int8,
    -- Until then only a check-in makes the mailbox due.
    cooldown_until       int8 NOT NULL DEFAULT 0,
    leased_until         int8 NOT NULL DEFAULT 0,
    lease                int8 NOT NULL DEFAULT 0,
    -- The relay that has the lease.
    holder               int8,
    attempt              int4 NOT NULL DEFAULT 0,
    consecutive_failures int4 NOT NULL DEFAULT 0,
    failing_since        int8,
    -- The problem for which it is parked; NULL if it is not.
    parked_for           text COLLATE "C",
    -- When the machine last checked in without a problem during a delivery.
    checked_in_at        int8 NOT NULL DEFAULT 0,
    body                 bytea
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX pending_by_due ON pending (due_at, user_id) WHERE due_at IS NOT NULL;
CREATE INDEX pending_waiting ON pending (waiting_since) WHERE due_at IS NOT NULL;
CREATE INDEX pending_failing ON pending (failing_since, user_id)
    WHERE failing_since IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX pending_parked ON pending (parked_for) WHERE parked_for IS NOT NULL;

-- The processes that claim, and the last heartbeat of each.
CREATE TABLE relay (
    id           int8 PRIMARY KEY,
    heartbeat_at int8 NOT NULL
);

-- The numbers of leases.
CREATE SEQUENCE lease;

-- Up to where the notifications of a mailbox are settled. The address is the key of the mailbox
-- (EmailAddress::mailbox_key), and empty if it is unknown.
CREATE TABLE cursor (
    user_id     text COLLATE "C" NOT NULL,
    address     text COLLATE "C" NOT NULL,
    history_id  text COLLATE "C" NOT NULL,
    -- The messages that announced the history id, separated by spaces.
    message_ids text COLLATE "C" NOT NULL,
    settled_at  int8 NOT NULL,
    -- When the latest settled message of the mailbox was published; NULL covers nothing.
    published_at int8,
    PRIMARY KEY (user_id, address)
) WITH (fillfactor = 80);

-- One row: the latest time at which something was scheduled. A time before it shows that the clock was
-- ahead.
CREATE TABLE queue_clock (latest int8 NOT NULL);
INSERT INTO queue_clock VALUES (0);

CREATE TABLE dead_letter (
    id               int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          text COLLATE "C" NOT NULL,
    message_id       text COLLATE "C" NOT NULL,
    -- NULL if the message cannot be parsed.
    history_id       text COLLATE "C",
    address          text COLLATE "C",
    published_at     int8,
    body             bytea NOT NULL,
    reason           text COLLATE "C" NOT NULL,
    cause            text NOT NULL,
    failure_kind     text COLLATE "C",
    dead_lettered_at int8 NOT NULL
);
CREATE INDEX dead_letter_by_user ON dead_letter (user_id, id);
-- A repeat of a message that cannot be parsed is not kept again.
CREATE UNIQUE INDEX dead_letter_unparseable ON dead_letter (user_id, message_id) WHERE reason = 'malformed';

-- One row: how many dead letters were deleted because their user had too many.
CREATE TABLE dead_letter_dropped (number int8 NOT NULL);
INSERT INTO dead_letter_dropped VALUES (0);

-- The last deliveries of each mailbox: a ring, in which the slot is the number of the delivery modulo the
-- size.
CREATE TABLE delivery (
    user_id      text COLLATE "C" NOT NULL,
    slot         int4 NOT NULL,
    lease        int8 NOT NULL,
    message_id   text COLLATE "C" NOT NULL,
    history_id   text COLLATE "C" NOT NULL,
    outcome      text COLLATE "C" NOT NULL,
    cause        text,
    failure_kind text COLLATE "C",
    attempt      int4 NOT NULL,
    accepted_at  int8 NOT NULL,
    claimed_at   int8 NOT NULL,
    settled_at   int8 NOT NULL,
    PRIMARY KEY (user_id, slot)
) WITH (fillfactor = 80);

-- How many deliveries of a mailbox were recorded, and those of each hour of a day: an hour is at its number
-- modulo 24, plus one, and replaces the one a day before.
CREATE TABLE tally (
    user_id    text COLLATE "C" PRIMARY KEY,
    deliveries int8   NOT NULL,
    hours      int8[] NOT NULL,
    delivered  int4[] NOT NULL,
    failed     int4[] NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE user_record (
    user_id           text COLLATE "C" PRIMARY KEY,
    sandbox_id        text COLLATE "C" NOT NULL CONSTRAINT user_record_by_sandbox UNIQUE,
    status            text COLLATE "C" NOT NULL,
    -- On Fly, or at a URL of its own; all NULL if unknown.
    app               text COLLATE "C",
    machine           text COLLATE "C",
    url               text COLLATE "C",
    -- The connected Google account; all NULL if there is none.
    connected_at      int8,
    email             text COLLATE "C",
    -- The same for every spelling of a Gmail address (EmailAddress::mailbox_key).
    mailbox_key       text COLLATE "C",
    push_account      text COLLATE "C",
    notifications     bool NOT NULL,
    wake_on_mail      bool NOT NULL,
    created_at        int8 NOT NULL,
    updated_at        int8 NOT NULL,
    watch_expires_at  int8,
    -- The version that the machine has yet to receive; NULL if it has received the latest.
    pending_sync      int8,
    -- What keeps mail from reaching the bot, and since when, as the machine reported.
    problem_code      text COLLATE "C",
    problem_since     int8,
    mail_dead_letters int8 NOT NULL DEFAULT 0,
    -- When the machine was last started because of mail.
    started_at        int8,
    -- Grows with each write.
    version           int8 NOT NULL
);
CREATE INDEX user_record_by_mailbox ON user_record (mailbox_key, connected_at, user_id)
    WHERE mailbox_key IS NOT NULL;
CREATE INDEX user_record_by_email ON user_record (email, user_id) WHERE email IS NOT NULL;
CREATE INDEX user_record_by_machine ON user_record (app, machine) WHERE app IS NOT NULL;
CREATE INDEX user_record_pending_sync ON user_record (user_id) WHERE pending_sync IS NOT NULL;
CREATE INDEX user_record_by_problem ON user_record (problem_code, user_id) WHERE problem_code IS NOT NULL;

-- Counting a million rows takes seconds; this number is always known.
CREATE TABLE user_count (number int8 NOT NULL);
INSERT INTO user_count VALUES (0);
CREATE FUNCTION count_added_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_count SET number = number + (SELECT count(*) FROM added) WHERE EXISTS (SELECT FROM added);
    RETURN NULL;
END $$;
CREATE FUNCTION count_removed_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE user_count SET number = number - (SELECT count(*) FROM removed) WHERE EXISTS (SELECT FROM removed);
    RETURN NULL;
END $$;
-- Once a statement, so that many users at once are one update.
CREATE TRIGGER user_added AFTER INSERT ON user_record REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added_users();
CREATE TRIGGER user_removed AFTER DELETE ON user_record REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed_users();

-- Up to where a user's mail was delivered. Apart from the record, which a mail therefore does not change.
CREATE TABLE progress (
    user_id    text COLLATE "C" PRIMARY KEY,
    history_id text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE credential (
    user_id    text COLLATE "C" PRIMARY KEY,
    -- Which key it is encrypted with.
    key_id     text COLLATE "C" NOT NULL,
    ciphertext bytea NOT NULL
);
CREATE INDEX credential_by_key ON credential (key_id);

-- Managed machines without a user, which still hold the settings of one.
CREATE TABLE orphaned_machine (
    app     text COLLATE "C" NOT NULL,
    machine text COLLATE "C" NOT NULL,
    PRIMARY KEY (app, machine)
);

CREATE TABLE sign_in_link (
    -- SHA-256 of the secret in it.
    digest     bytea PRIMARY KEY,
    user_id    text COLLATE "C",
    operator   text COLLATE "C",
    expires_at int8 NOT NULL
);
CREATE INDEX sign_in_link_by_end ON sign_in_link (expires_at);

-- Sessions of an earlier epoch have ended; without a row it is 0.
CREATE TABLE session_epoch (
    subject text COLLATE "C" PRIMARY KEY,
    epoch   int8 NOT NULL
);

-- Alerts that wait to be sent, one row per recipient. The user is empty for a target of the operator.
CREATE TABLE alert (
    id       text COLLATE "C" NOT NULL,
    user_id  text COLLATE "C" NOT NULL,
    target   text COLLATE "C" NOT NULL,
    event    text NOT NULL,
    added_at int8 NOT NULL,
    due_at   int8 NOT NULL,
    attempt  int4 NOT NULL DEFAULT 0,
    lease    int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (id, user_id, target)
);
CREATE INDEX alert_by_due ON alert (due_at);

-- What was told of a user, or of several together (a subject with a space).
CREATE TABLE alert_mark (
    subject text COLLATE "C" PRIMARY KEY,
    state   text NOT NULL,
    due_at  int8,
    version int8 NOT NULL
);
CREATE INDEX alert_mark_by_due ON alert_mark (due_at) WHERE due_at IS NOT NULL;

-- The users' targets, encrypted: they contain tokens.
CREATE TABLE alert_target (
    user_id    text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    ciphertext bytea NOT NULL,
    added_at   int8 NOT NULL,
    PRIMARY KEY (user_id, id)
);
