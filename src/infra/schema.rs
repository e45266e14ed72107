// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
    #[diesel(postgres_type(name = "tsvector", schema = "pg_catalog"))]
    pub struct Tsvector;
}

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        user_id -> Uuid,
        name -> Text,
        prefix -> Text,
        hash -> Bytea,
        scopes -> Array<Text>,
        created_at -> Timestamptz,
        last_used_at -> Nullable<Timestamptz>,
        expires_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    catalog_version (singleton) {
        singleton -> Bool,
        v -> Int8,
        history -> Uuid,
    }
}

diesel::table! {
    categories (id) {
        id -> Uuid,
        parent_id -> Nullable<Uuid>,
        slug -> Text,
        name -> Text,
        position -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    changes (v, n) {
        v -> Int8,
        n -> Int4,
        entity -> Text,
        entity_id -> Nullable<Uuid>,
        kind -> Text,
        before -> Nullable<Jsonb>,
        after -> Nullable<Jsonb>,
        actor_id -> Nullable<Uuid>,
        at -> Timestamptz,
    }
}

diesel::table! {
    idempotency (name) {
        name -> Bytea,
        fingerprint -> Bytea,
        answer -> Bytea,
        at -> Timestamptz,
    }
}

diesel::table! {
    identities (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        user_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    mail_tokens (hash) {
        hash -> Bytea,
        user_id -> Uuid,
        purpose -> Text,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::Tsvector;

    products (id) {
        id -> Uuid,
        sku -> Text,
        slug -> Text,
        name -> Text,
        name_key -> Text,
        description -> Nullable<Text>,
        status -> Text,
        price_amount -> Int8,
        price_currency -> Text,
        compare_at_amount -> Nullable<Int8>,
        stock -> Int4,
        category_id -> Nullable<Uuid>,
        tags -> Array<Text>,
        attributes -> Jsonb,
        media -> Jsonb,
        rating -> Nullable<Float8>,
        external_reference -> Nullable<Text>,
        created_by -> Nullable<Uuid>,
        version -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        search_words -> Tsvector,
        search_text -> Text,
    }
}

diesel::table! {
    search_terms (term) {
        term -> Text,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        secret -> Bytea,
        counter -> Int4,
        user_agent -> Nullable<Text>,
        address -> Text,
        created_at -> Timestamptz,
        used_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        email_key -> Text,
        name -> Nullable<Text>,
        role -> Text,
        password_hash -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        email_verified_at -> Nullable<Timestamptz>,
        password_changed_at -> Timestamptz,
        token_version -> Int4,
        tokens_revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::joinable!(identities -> users (user_id));
diesel::joinable!(mail_tokens -> users (user_id));
diesel::joinable!(products -> categories (category_id));
diesel::joinable!(products -> users (created_by));
diesel::joinable!(sessions -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    catalog_version,
    categories,
    changes,
    idempotency,
    identities,
    mail_tokens,
    products,
    search_terms,
    sessions,
    users,
);
