-- What the catalogue needs. Of accounts it sees whether a credential counts and what it may do: no address, no name, no
-- password's hash, no secret of a session.
GRANT USAGE ON SCHEMA accounts, catalog, shared TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA catalog TO :role;
GRANT SELECT (id, role, token_version, tokens_revoked_at, email_verified_at) ON accounts.users TO :role;
GRANT SELECT (id, user_id, revoked_at) ON accounts.sessions TO :role;
GRANT SELECT (id, user_id, hash, scopes, expires_at), UPDATE (last_used_at) ON accounts.api_keys TO :role;
GRANT SELECT (issuer, subject, user_id) ON accounts.identities TO :role;
GRANT SELECT, UPDATE ON shared.catalog_version TO :role;
GRANT SELECT, INSERT ON shared.changes TO :role;
GRANT SELECT, INSERT, UPDATE ON shared.idempotency TO :role;
GRANT SELECT ON public.__diesel_schema_migrations TO :role;
