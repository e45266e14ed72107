-- The orders that change with every write, too: without them a list by stock, or of what changed last, reads and sorts the
-- whole table, however large that is. A change of stock then touches every index of its row.
CREATE INDEX products_stock_id_idx ON products (stock, id);
CREATE INDEX products_updated_at_id_idx ON products (updated_at, id);
