// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import type { FieldFunctionOptions, FieldPolicy, Reference, StoreObject, TypePolicies } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';

import { keyless, lists } from './api';

interface Edge {
  node?: Reference | StoreObject;
}

interface Page {
  edges?: readonly Edge[];
  nodes?: readonly (Reference | StoreObject)[];
  pageInfo?: object;
}

/** What Apollo's policy does, without its idea of what a page is. */
interface Relay {
  merge: (existing: Page | undefined, incoming: Page, options: FieldFunctionOptions) => Page;
  read: (existing: Page, options: FieldFunctionOptions) => Page;
}

/**
 * The pages of a list, one after the other. Apollo's own policy knows only `edges`: here pages of `nodes` are joined
 * as well, and what came without either, such as a count, is no empty list.
 */
function pages(keyArgs: readonly string[]): FieldPolicy<Page> {
  const { merge, read } = relayStylePagination() as unknown as Relay;
  return {
    keyArgs: [...keyArgs],
    merge(existing, incoming, options) {
      const { nodes, edges = nodes?.map(() => ({}) as Edge), ...others } = incoming;
      if (!edges) {
        return { ...existing, ...incoming, ...(existing?.edges && { pageInfo: existing.pageInfo }) };
      }
      const whole = edges.map((edge, at) => {
        const node = nodes?.[at];
        return node === undefined ? edge : { ...edge, node: edge.node ? options.mergeObjects(edge.node, node) : node };
      });
      return merge(existing?.edges && existing, { ...others, edges: whole }, options);
    },
    read(existing, options) {
      if (!existing?.edges) {
        return existing;
      }
      const page = read(existing, options);
      return { ...page, nodes: page.edges?.map(({ node }) => node as Reference) };
    },
  };
}

/** How Apollo Client's `InMemoryCache` keeps what this API gives; its `possibleTypes` are in the file of that name. */
export const typePolicies: TypePolicies = Object.fromEntries([
  ...keyless.map((type) => [type, { merge: true }]),
  ...Object.entries(lists).map(([type, fields]) => [
    type,
    { fields: Object.fromEntries(Object.entries(fields).map(([field, keyArgs]) => [field, pages(keyArgs)])) },
  ]),
]);
