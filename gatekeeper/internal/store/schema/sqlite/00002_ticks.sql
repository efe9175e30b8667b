-- +goose Up
-- Every tick of a rollout with the verdict it led to: what `gatekeeper replay` judges again.
CREATE TABLE ticks (
	rollout TEXT NOT NULL,
	at      INTEGER NOT NULL, -- Unix nanoseconds
	tick    TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason  TEXT NOT NULL,
	digest  TEXT NOT NULL,
	PRIMARY KEY (rollout, at)
) STRICT, WITHOUT ROWID;

-- Policies by what they say, so that a rollout can be judged again by the rules it was judged by.
CREATE TABLE policies (
	digest   TEXT PRIMARY KEY,
	document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Small documents by name, such as the alerts that fire.
CREATE TABLE memos (
	name     TEXT PRIMARY KEY,
	document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
