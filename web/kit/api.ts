// From `stockroom client-kit`, which writes it anew when the schema changes.

/** Every scalar of the API, as JSON brings it. */
export interface Scalars {
  CurrencyCode: string;
  DateTime: string;
  Decimal: string;
  JSON: unknown;
  URL: string;
}

/** The same for code generators. */
export const scalars: Record<keyof Scalars, string> = {
  CurrencyCode: 'string',
  DateTime: 'string',
  Decimal: 'string',
  JSON: 'unknown',
  URL: 'string',
};

/** What has no id is part of what it belongs to. */
export const keyless: readonly string[] = [
  'ApiKeyPayload',
  'Attribute',
  'AuditConnection',
  'AuditEdge',
  'AuditEntry',
  'AuthPayload',
  'AuthTokens',
  'CategoryPayload',
  'Count',
  'CredentialsError',
  'DeleteCategoryPayload',
  'DeleteProductPayload',
  'MailPayload',
  'Media',
  'Money',
  'NotFoundError',
  'PageInfo',
  'ProductConnection',
  'ProductEdge',
  'ProductEvent',
  'ProductPayload',
  'RateLimit',
  'RequestLimits',
  'RevokePayload',
  'ServiceInfo',
  'Stock',
  'TakenError',
  'UserConnection',
  'UserEdge',
  'UserPayload',
  'ValidationError',
  'VerifyEmailPayload',
  'VersionConflictError',
];

/** Fields that have pages, each with the arguments that make another list of it. */
export const lists: Record<string, Record<string, readonly string[]>> = {
  Category: {
    products: ['filter', 'offset', 'search', 'sortBy'],
  },
  Query: {
    auditLog: ['filter'],
    products: ['filter', 'offset', 'search', 'sortBy'],
    users: [],
  },
};
