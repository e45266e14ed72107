-- What the accounts service needs. Of the catalogue it sees what there is and whom it is shown to, and what the change log
-- tells.
GRANT USAGE ON SCHEMA accounts, catalog, shared TO :role;
GRANT SELECT (id, status) ON catalog.products TO :role;
GRANT SELECT (id) ON catalog.categories TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA accounts TO :role;
GRANT SELECT, UPDATE ON shared.catalog_version TO :role;
-- Of the two services it is the one that forgets what is over.
GRANT SELECT, INSERT, DELETE ON shared.changes TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON shared.idempotency TO :role;
GRANT SELECT ON public.__diesel_schema_migrations TO :role;
