// What the two services are together: the API, all of it and nothing else.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { diff } from '@graphql-inspector/core';
import { buildSchema, parse } from 'graphql';

import { check, finish, parameters } from './check.mjs';
import { compose } from './compose.mjs';

const [whole, accounts, catalog] = parameters('composition.mjs <schema> <accounts> <catalog>', 3);
const api = buildSchema(readFileSync(whole, 'utf8'));

await check('The services compose without an error.', async () => {
  compose(accounts, catalog);
});

await check('Together they are the whole API, but for what it tells in directives.', async () => {
  const composed = buildSchema(compose(accounts, catalog).publicSdl);
  const changes = await diff(api, composed);
  const others = changes.filter((change) => !change.type.startsWith('DIRECTIVE'));
  assert.deepEqual(others.map((change) => change.message), []);
});

await check('Neither has all of it.', async () => {
  for (const [file, without] of [[accounts, 'ProductConnection'], [catalog, 'AuthTokens']]) {
    const names = parse(readFileSync(file, 'utf8')).definitions.map((definition) => definition.name?.value);
    assert.ok(!names.includes(without), without);
  }
});

finish(3);
