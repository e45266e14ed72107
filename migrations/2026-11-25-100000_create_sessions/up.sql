ALTER TABLE users
    ADD COLUMN email_verified_at timestamptz,
    ADD COLUMN password_changed_at timestamptz NOT NULL DEFAULT now(),
    -- Access tokens carry it; those with an older one are refused. Raised when the role or the password changes.
    ADD COLUMN token_version integer NOT NULL DEFAULT 0,
    -- When it was raised last.
    ADD COLUMN tokens_revoked_at timestamptz;
CREATE INDEX users_tokens_revoked_at_idx ON users (tokens_revoked_at) WHERE tokens_revoked_at IS NOT NULL;

-- A sign-in on one device, for as long as its refresh tokens are used.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Key of the MACs in its refresh tokens, and the number that the current one carries.
    secret bytea NOT NULL CHECK (length(secret) = 32),
    counter integer NOT NULL DEFAULT 0 CHECK (counter >= 0),
    user_agent text CHECK (length(user_agent) <= 200),
    address text NOT NULL CHECK (length(address) <= 45),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the counter was raised last.
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_used_at_idx ON sessions (used_at);
CREATE INDEX sessions_revoked_at_idx ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

ALTER TABLE changes DROP CONSTRAINT changes_entity_check;
ALTER TABLE changes ADD CONSTRAINT changes_entity_check
    CHECK (entity IN ('PRODUCT', 'CATEGORY', 'USER', 'SESSION', 'API_KEY'));
-- Who did what.
CREATE INDEX changes_actor_id_idx ON changes (actor_id, v, n) WHERE actor_id IS NOT NULL;
-- What happened to accounts, among all that happens to products.
CREATE INDEX changes_accounts_idx ON changes (entity, v, n) WHERE entity IN ('USER', 'SESSION', 'API_KEY');
