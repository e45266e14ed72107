DROP INDEX products_updated_at_id_idx;
DROP INDEX products_stock_id_idx;
