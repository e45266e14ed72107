-- Credentials of machines, which act for a user within scopes. A revoked one is gone; the change log remembers it.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- How the secret begins, so that people recognise it.
    prefix text NOT NULL,
    -- SHA-256 of the secret, which is random and long.
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes text[] NOT NULL CHECK (array_position(scopes, NULL) IS NULL),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- To the minute.
    last_used_at timestamptz,
    expires_at timestamptz
);
CREATE INDEX api_keys_user_id_idx ON api_keys (user_id);
