CREATE INDEX products_rating_id_idx ON catalog.products (rating, id);
CREATE INDEX products_rating_desc_id_idx ON catalog.products (rating DESC NULLS LAST, id DESC);
DROP INDEX catalog.products_rating_ascending_idx;
DROP INDEX catalog.products_rating_descending_idx;
