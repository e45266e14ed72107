-- What was answered under an idempotency key, written in the transaction of the effect.
CREATE TABLE idempotency (
    -- Derived from the client's key and from who the client is; the key itself is not kept.
    name bytea PRIMARY KEY CHECK (length(name) = 32),
    -- A MAC of what was asked.
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    -- Sealed with a key that only the client's key gives: it may hold tokens.
    answer bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idempotency_at_idx ON idempotency (at);
