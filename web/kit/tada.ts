// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import { initGraphQLTada } from 'gql.tada';

import type { Scalars } from './api';
// From `gql.tada generate-output --tsconfig tsconfig.tada.json`, in this folder.
import type { introspection } from './graph-env';

export const graphql = initGraphQLTada<{ introspection: introspection; scalars: Scalars }>();

export { type FragmentOf, readFragment, type ResultOf, type VariablesOf } from 'gql.tada';
