// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import type { FieldPolicy, Reference, TypePolicies } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';

import { keyless, lists } from './api';

interface Edge {
  node?: Reference | object;
}

interface Page {
  edges?: readonly Edge[];
  nodes?: readonly (Reference | object)[];
  pageInfo?: object;
}

/**
 * The pages of a list, one after the other. Apollo's own policy knows only `edges`: here pages of `nodes` are joined
 * as well, and what came without either, such as a count, is no empty list.
 */
function pages(keyArgs: readonly string[]): FieldPolicy<Page> {
  const { merge, read } = relayStylePagination([...keyArgs]) as Required<FieldPolicy<Page>> & {
    merge: (existing: Page | undefined, incoming: Page, options: object) => Page;
    read: (existing: Page, options: object) => Page;
  };
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
