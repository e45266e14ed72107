-- The orders that change with every write, too: without them a list by stock, or of what changed last, reads and sorts the
-- whole table, however large that is. A change of stock then touches every index of its row.
CREATE INDEX products_stock_id_idx ON products (stock, id);
CREATE INDEX products_updated_at_id_idx ON products (updated_at, id);

-- What is for sale in a category is counted by the index alone.
DROP INDEX products_category_id_created_at_id_idx;
CREATE INDEX products_category_id_created_at_id_idx ON products (category_id, created_at, id) INCLUDE (status);
