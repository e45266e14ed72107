// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import type { Cache, CacheExchangeOpts, Resolver, UpdatesConfig } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';

import { keyless, lists } from './api';

/** What has no id is part of what it belongs to. */
export const keys: NonNullable<CacheExchangeOpts['keys']> = Object.fromEntries(
  keyless.map((type) => [type, () => null]),
);

/** Lists as long as the pages that were read of them: for those who load more, not for numbered pages. */
export const resolvers: Record<string, Record<string, Resolver>> = Object.fromEntries(
  Object.entries(lists).map(([type, fields]) => [
    type,
    Object.fromEntries(Object.keys(fields).map((field) => [field, relayPagination()])),
  ]),
);

type Link = Parameters<Cache['inspectFields']>[0];

/** Asks again for every list of that name, whatever its arguments. */
function forget(cache: Cache, entity: Link, field: string): void {
  for (const { fieldKey, fieldName } of cache.inspectFields(entity)) {
    if (fieldName === field) {
      cache.invalidate(entity, fieldKey);
    }
  }
}

const forgetProducts = (cache: Cache): void => forget(cache, 'Query', 'products');

function forgetCategories(cache: Cache): void {
  forget(cache, 'Query', 'categories');
  forget(cache, 'Query', 'category');
}

/** What a change makes of what was read before. */
export const updates: UpdatesConfig = {
  Mutation: {
    createProduct: (result: Payloads['createProduct'], _, cache) => {
      if (result.createProduct?.product) {
        forgetProducts(cache);
      }
    },
    updateProduct: (result: Payloads['updateProduct'], _, cache) => {
      if (result.updateProduct?.product) {
        forgetProducts(cache);
      }
    },
    deleteProduct: (result: Payloads['deleteProduct'], _, cache) => {
      if (result.deleteProduct?.deletedId) {
        cache.invalidate({ __typename: 'Product', id: result.deleteProduct.deletedId });
      }
    },
    createCategory: (_result, _, cache) => forgetCategories(cache),
    updateCategory: (_result, _, cache) => {
      forgetCategories(cache);
      forgetProducts(cache);
    },
    deleteCategory: (_result, _, cache) => forgetCategories(cache),
    revokeSession: (_result, { id }, cache) => cache.invalidate({ __typename: 'Session', id: id as string }),
    revokeApiKey: (_result, { id }, cache) => cache.invalidate({ __typename: 'ApiKey', id: id as string }),
    createApiKey: (_result, _, cache) => forget(cache, cache.resolve('Query', 'me') as Link, 'apiKeys'),
    changePassword: (_result, _, cache) => forget(cache, cache.resolve('Query', 'me') as Link, 'sessions'),
    verifyEmail: (_result, _, cache) => forget(cache, 'Query', 'me'),
  },
  Subscription: {
    productEvents: ({ productEvents: event }: Payloads['productEvents'], _, cache) => {
      if (event?.type === 'DELETED') {
        cache.invalidate({ __typename: 'Product', id: event.productId });
      } else if (event?.type === 'CREATED') {
        forgetProducts(cache);
      }
    },
  },
};

interface Payloads {
  createProduct: { createProduct?: { product?: unknown } | null };
  updateProduct: { updateProduct?: { product?: unknown } | null };
  deleteProduct: { deleteProduct?: { deletedId?: string | null } | null };
  productEvents: { productEvents?: { type: string; productId: string } | null };
}
