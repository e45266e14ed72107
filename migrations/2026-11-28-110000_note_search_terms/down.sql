DROP TRIGGER products_note_renamed_terms ON catalog.products;
DROP TRIGGER products_note_inserted_terms ON catalog.products;
DROP FUNCTION catalog.note_renamed_terms;
DROP FUNCTION catalog.note_inserted_terms;
DROP FUNCTION catalog.search_alternatives;
DROP FUNCTION catalog.add_search_terms;
DROP TABLE catalog.search_terms;
DROP INDEX catalog.products_lower_sku_idx;
DROP EXTENSION fuzzystrmatch;
