-- +goose Up
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
CREATE INDEX entries_by_rollout ON entries (rollout, seq);

-- One message for each sink.
ALTER TABLE outbox ADD COLUMN sink TEXT NOT NULL DEFAULT 'webhook';
