-- A deep page by stock within a category begins in the index where it lies, like one by name, price or age.
CREATE INDEX products_category_id_stock_id_idx ON catalog.products (category_id, stock, id);
