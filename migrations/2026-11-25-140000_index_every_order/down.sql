DROP INDEX products_category_id_created_at_id_idx;
CREATE INDEX products_category_id_created_at_id_idx ON products (category_id, created_at, id);
DROP INDEX products_updated_at_id_idx;
DROP INDEX products_stock_id_idx;
