ALTER FUNCTION shared.record_changes(text[], text[], uuid[], jsonb[], jsonb[], uuid) SET SCHEMA public;
ALTER TABLE shared.idempotency SET SCHEMA public;
ALTER TABLE shared.changes SET SCHEMA public;
ALTER TABLE shared.catalog_version SET SCHEMA public;
DROP SCHEMA shared;

ALTER FUNCTION catalog.search_distance(text, text, tsvector, text) SET SCHEMA public;
ALTER FUNCTION catalog.search_query(text) SET SCHEMA public;
ALTER TABLE catalog.products SET SCHEMA public;
ALTER TABLE catalog.categories SET SCHEMA public;
DROP SCHEMA catalog;

ALTER TABLE accounts.identities SET SCHEMA public;
ALTER TABLE accounts.mail_tokens SET SCHEMA public;
ALTER TABLE accounts.api_keys SET SCHEMA public;
ALTER TABLE accounts.sessions SET SCHEMA public;
ALTER TABLE accounts.users SET SCHEMA public;
DROP SCHEMA accounts;
