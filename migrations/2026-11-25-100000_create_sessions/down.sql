DROP INDEX changes_accounts_idx;
DROP INDEX changes_actor_id_idx;
ALTER TABLE changes DROP CONSTRAINT changes_entity_check;
ALTER TABLE changes ADD CONSTRAINT changes_entity_check CHECK (entity IN ('PRODUCT', 'CATEGORY', 'USER'));
DROP TABLE sessions;
ALTER TABLE users
    DROP COLUMN tokens_revoked_at,
    DROP COLUMN token_version,
    DROP COLUMN password_changed_at,
    DROP COLUMN email_verified_at;
