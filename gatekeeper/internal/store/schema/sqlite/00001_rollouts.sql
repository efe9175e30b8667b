-- +goose Up
-- A rollout's record and its pods' counters, as JSON documents that are always written together.
CREATE TABLE rollouts (
	id         TEXT PRIMARY KEY,
	canary     TEXT NOT NULL,
	started_at INTEGER NOT NULL, -- Unix milliseconds
	reported   INTEGER NOT NULL,
	record     TEXT NOT NULL,
	counters   TEXT NOT NULL
) STRICT;
CREATE INDEX rollouts_by_canary ON rollouts (canary, started_at);
CREATE INDEX rollouts_open ON rollouts (reported) WHERE reported = 0;

-- What people must be told, written in the transaction of the change that caused it.
CREATE TABLE outbox (
	id         INTEGER PRIMARY KEY,
	key        TEXT NOT NULL UNIQUE, -- the receiver's idempotency key
	news       TEXT NOT NULL,
	due_at     INTEGER NOT NULL, -- Unix milliseconds
	attempts   INTEGER NOT NULL DEFAULT 0,
	state      TEXT NOT NULL DEFAULT 'waiting', -- waiting, delivered, refused
	last_error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'waiting';
