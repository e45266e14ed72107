CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- The address as its owner wrote it, and the one form under which it is unique.
    email text NOT NULL CHECK (length(email) <= 320),
    email_key text NOT NULL UNIQUE CHECK (length(email_key) <= 320),
    name text CHECK (length(name) <= 200),
    role text NOT NULL DEFAULT 'CUSTOMER' CHECK (role IN ('CUSTOMER', 'STAFF', 'ADMIN')),
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
