-- +goose Up
-- The same as SQLite's after its third; what each table is for stands there.
CREATE TABLE leader (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	term   BIGINT NOT NULL,
	writes BIGINT NOT NULL
);
INSERT INTO leader VALUES (1, 0, 0);

CREATE TABLE entries (
	seq      BIGINT PRIMARY KEY,
	at       BIGINT NOT NULL, -- Unix nanoseconds
	kind     TEXT NOT NULL,
	rollout  TEXT NOT NULL,
	body     TEXT NOT NULL,
	previous TEXT NOT NULL,
	hash     TEXT NOT NULL
);
CREATE INDEX entries_by_rollout ON entries (rollout, at);
CREATE UNIQUE INDEX entries_closing ON entries (rollout) WHERE kind = 'rollout';
-- +goose StatementBegin
CREATE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'entries of the ledger are never changed or deleted'; END $$;
-- +goose StatementEnd
CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION entries_stay();
CREATE TRIGGER entries_remain BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION entries_stay();

CREATE TABLE rollouts (
	id          TEXT PRIMARY KEY,
	canary      TEXT NOT NULL,
	started_at  BIGINT NOT NULL, -- Unix milliseconds
	reported    INTEGER NOT NULL,
	ended_at    BIGINT NOT NULL, -- Unix milliseconds, 0: not yet
	result      TEXT NOT NULL,
	deploy_id   TEXT NOT NULL,
	search      TEXT NOT NULL, -- in lower case
	brief       TEXT NOT NULL,
	tape_ticks  BIGINT NOT NULL,
	tape_digest TEXT NOT NULL,
	adopted     INTEGER NOT NULL DEFAULT 0 -- 1: closed before there was a ledger
);
CREATE INDEX rollouts_by_canary ON rollouts (canary, started_at);
CREATE INDEX rollouts_open ON rollouts (reported) WHERE reported = 0;
CREATE INDEX rollouts_by_time ON rollouts (started_at DESC, id);
CREATE INDEX rollouts_by_deploy_id ON rollouts (deploy_id, started_at);

CREATE TABLE records (
	rollout  TEXT PRIMARY KEY,
	record   TEXT NOT NULL,
	counters TEXT NOT NULL
);

CREATE TABLE ticks (
	rollout TEXT NOT NULL,
	n       BIGINT NOT NULL, -- 1, 2, 3 …
	tick    TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason  TEXT NOT NULL,
	digest  TEXT NOT NULL,
	PRIMARY KEY (rollout, n)
);

CREATE TABLE outbox (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	key        TEXT NOT NULL,
	sink       TEXT NOT NULL,
	rollout    TEXT NOT NULL,
	news       TEXT NOT NULL,
	at         BIGINT NOT NULL, -- of the news, Unix milliseconds
	due_at     BIGINT NOT NULL DEFAULT 0, -- Unix milliseconds, 0: at once, whatever the clock says
	attempts   BIGINT NOT NULL DEFAULT 0,
	state      TEXT NOT NULL DEFAULT 'waiting', -- waiting, delivered, refused
	last_error TEXT NOT NULL DEFAULT '',
	UNIQUE (key, sink)
);
CREATE INDEX outbox_waiting ON outbox (rollout, sink, id) WHERE state = 'waiting';

CREATE TABLE threads (
	rollout TEXT NOT NULL,
	sink    TEXT NOT NULL,
	thread  TEXT NOT NULL,
	PRIMARY KEY (rollout, sink)
);

CREATE TABLE policies (
	digest   TEXT PRIMARY KEY,
	document TEXT NOT NULL
);

CREATE TABLE memos (
	name     TEXT PRIMARY KEY,
	document TEXT NOT NULL
);
