-- A schema for each service and one for what both share, so that a role can be given what one service needs and no more.
-- Connections have all of them in their search path; what is made without a schema's name is in `public`.
CREATE SCHEMA accounts;
ALTER TABLE users SET SCHEMA accounts;
ALTER TABLE sessions SET SCHEMA accounts;
ALTER TABLE api_keys SET SCHEMA accounts;
ALTER TABLE mail_tokens SET SCHEMA accounts;
ALTER TABLE identities SET SCHEMA accounts;

CREATE SCHEMA catalog;
ALTER TABLE categories SET SCHEMA catalog;
ALTER TABLE products SET SCHEMA catalog;
ALTER FUNCTION search_query(text) SET SCHEMA catalog;
ALTER FUNCTION search_distance(text, text, tsvector, text) SET SCHEMA catalog;

CREATE SCHEMA shared;
ALTER TABLE catalog_version SET SCHEMA shared;
ALTER TABLE changes SET SCHEMA shared;
ALTER TABLE idempotency SET SCHEMA shared;
ALTER FUNCTION record_changes(text[], text[], uuid[], jsonb[], jsonb[], uuid) SET SCHEMA shared;
