// Both services as one graph, composed as a gateway's owner would.

import { readFileSync } from 'node:fs';

import { composeServices } from '@theguild/federation-composition';
import { parse } from 'graphql';

/** What is composed of the services whose schemas are in these files. */
export function compose(accounts, catalog) {
  const service = (name, file) => ({
    name,
    url: `http://${name}/graphql`,
    typeDefs: parse(readFileSync(file, 'utf8')),
  });
  const composed = composeServices([service('accounts', accounts), service('catalog', catalog)]);
  if (composed.errors) throw new Error(composed.errors.map((error) => error.message).join('\n'));
  return composed;
}
