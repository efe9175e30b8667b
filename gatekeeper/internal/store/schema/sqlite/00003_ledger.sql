-- +goose Up
-- Who may write: each leader takes a new term, and a write in an older one is refused. Writes are counted, so that one
-- whose acknowledgement was lost can be found again.
CREATE TABLE leader (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	term   INTEGER NOT NULL,
	writes INTEGER NOT NULL
) STRICT;
INSERT INTO leader VALUES (1, 0, 0);

-- The ledger: append-only, each entry bound to the one before by its hash.
CREATE TABLE entries (
	seq      INTEGER PRIMARY KEY,
	at       INTEGER NOT NULL, -- Unix nanoseconds
	kind     TEXT NOT NULL,
	rollout  TEXT NOT NULL,
	body     TEXT NOT NULL,
	previous TEXT NOT NULL,
	hash     TEXT NOT NULL
) STRICT;
CREATE INDEX entries_by_rollout ON entries (rollout, at);
CREATE UNIQUE INDEX entries_closing ON entries (rollout) WHERE kind = 'rollout';
-- +goose StatementBegin
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries of the ledger are never changed'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries of the ledger are never deleted'); END;
-- +goose StatementEnd

-- What lists need stays in rollouts, the documents go to a table of their own: lists do not read them.
CREATE TABLE records (
	rollout  TEXT PRIMARY KEY,
	record   TEXT NOT NULL,
	counters TEXT NOT NULL
) STRICT;
INSERT INTO records SELECT id, record, counters FROM rollouts;
ALTER TABLE rollouts DROP COLUMN record;
ALTER TABLE rollouts DROP COLUMN counters;
ALTER TABLE rollouts ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0; -- Unix milliseconds, 0: not yet
ALTER TABLE rollouts ADD COLUMN result TEXT NOT NULL DEFAULT '';
ALTER TABLE rollouts ADD COLUMN deploy_id TEXT NOT NULL DEFAULT '';
ALTER TABLE rollouts ADD COLUMN search TEXT NOT NULL DEFAULT ''; -- in lower case
ALTER TABLE rollouts ADD COLUMN brief TEXT NOT NULL DEFAULT '{}';
ALTER TABLE rollouts ADD COLUMN tape_ticks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN tape_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE rollouts ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0; -- 1: closed before there was a ledger
UPDATE rollouts SET adopted = reported;
CREATE INDEX rollouts_by_time ON rollouts (started_at DESC, id);
CREATE INDEX rollouts_by_deploy_id ON rollouts (deploy_id, started_at);

-- Ticks by their number: the clock may step back between two of them.
CREATE TABLE numbered (
	rollout TEXT NOT NULL,
	n       INTEGER NOT NULL, -- 1, 2, 3 …
	tick    TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason  TEXT NOT NULL,
	digest  TEXT NOT NULL,
	PRIMARY KEY (rollout, n)
) STRICT, WITHOUT ROWID;
INSERT INTO numbered SELECT rollout, row_number() OVER (PARTITION BY rollout ORDER BY at), tick, outcome, reason, digest FROM ticks;
DROP TABLE ticks;
ALTER TABLE numbered RENAME TO ticks;

-- One message for each sink; those of one rollout reach a sink in the order in which they were written.
CREATE TABLE messages (
	id         INTEGER PRIMARY KEY,
	key        TEXT NOT NULL,
	sink       TEXT NOT NULL,
	rollout    TEXT NOT NULL,
	news       TEXT NOT NULL,
	at         INTEGER NOT NULL, -- of the news, Unix milliseconds
	due_at     INTEGER NOT NULL DEFAULT 0, -- Unix milliseconds, 0: at once, whatever the clock says
	attempts   INTEGER NOT NULL DEFAULT 0,
	state      TEXT NOT NULL DEFAULT 'waiting', -- waiting, delivered, refused
	last_error TEXT NOT NULL DEFAULT '',
	UNIQUE (key, sink)
) STRICT;
INSERT INTO messages SELECT id, key, 'webhook', coalesce(json_extract(news, '$.rollout'), ''), news, due_at, due_at, attempts, state, last_error FROM outbox;
DROP TABLE outbox;
ALTER TABLE messages RENAME TO outbox;
CREATE INDEX outbox_waiting ON outbox (rollout, sink, id) WHERE state = 'waiting';

-- What a sink gave back for a rollout's last message, such as where it stands in a channel.
CREATE TABLE threads (
	rollout TEXT NOT NULL,
	sink    TEXT NOT NULL,
	thread  TEXT NOT NULL,
	PRIMARY KEY (rollout, sink)
) STRICT, WITHOUT ROWID;
