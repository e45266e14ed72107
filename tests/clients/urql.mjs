// Tests the client kit with urql and its normalised cache. TOKEN is the access token of a staff user, KIT the folder of
// the kit.

import assert from 'node:assert/strict';

import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { createClient } from 'graphql-ws';
import { pipe, subscribe } from 'wonka';
import WebSocket from 'ws';

import { Inbox, check, finish, parameters } from './check.mjs';
import { EVENTS, RENAME, checkEvents, checkRefresh, page, part, stocked } from './kit.mjs';
import { CREATE, Shop } from './shop.mjs';

const [url, token, kit] = parameters('urql.mjs URL TOKEN KIT', 3);
const { authentication } = await part(kit, 'urql.ts');
const { keys, resolvers, updates } = await part(kit, 'graphcache.ts');
const { default: schema } = await part(kit, 'introspection.json');
const kept = await part(kit, 'credentials.ts');

const ISSUED = { accessToken: token, accessTokenExpiresAt: '2999-01-01T00:00:00Z', refreshToken: 'rt_none' };
const sockets = [];
/** What the cache has to say, such as of a field that the schema does not have. */
const complaints = [];

function complain(severity, message) {
  // Whatever an invalidation took out of the cache is asked for again, which is no fault.
  if (severity !== 'debug') complaints.push(message);
}

function connect(credentials) {
  const socket = createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: kept.connectionParams(credentials),
  });
  sockets.push(socket);
  return new Client({
    url,
    preferGetMethod: false,
    exchanges: [
      cacheExchange({ schema, keys, resolvers, updates, logger: complain }),
      authentication(credentials),
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query, variables }) => ({
          subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
        }),
      }),
    ],
  });
}

function asStaff() {
  const credentials = new kept.Credentials(kept.renewal(url));
  credentials.set(ISSUED);
  return connect(credentials);
}

/** What a query shows, as it changes. */
function watch(client, query, variables) {
  const seen = new Inbox();
  pipe(
    client.query(query, variables),
    subscribe(({ data, error }) => (error ? seen.end(error.message) : data && seen.add(data))),
  );
  return seen;
}

const shop = new Shop(url, token);
const ids = await stocked(shop, 5);
const filter = { sku: { startsWith: shop.prefix } };
const NODES = page('nodes { ...Whole }');
const EDGES = page('edges { cursor node { ...Whole } }');
const names = (list) => list.map(({ name }) => name);

await check('What one query brought answers another, by the id.', async () => {
  const client = asStaff();
  await client.query(NODES, { filter }).toPromise();
  const query = 'query One($id: ID!) { node(id: $id) { __typename id ... on Product { name } } }';
  await client.query(query, { id: ids[0] }).toPromise();
  const seen = watch(client, NODES, { filter });
  await client.mutation(RENAME, { id: ids[0], name: 'Chair 0, pine' }).toPromise();
  await seen.find((data) => names(data.products.nodes)[0] === 'Chair 0, pine', 'the new name in the list');
  const one = await client.query(query, { id: ids[0] }, { requestPolicy: 'cache-only' }).toPromise();
  assert.equal(one.data.node.name, 'Chair 0, pine');
  await client.mutation(RENAME, { id: ids[0], name: 'Chair 0' }).toPromise();
});

for (const [kind, query, nodes] of [
  ['nodes', NODES, ({ products }) => products.nodes],
  ['edges', EDGES, ({ products }) => products.edges.map(({ node }) => node)],
]) {
  await check(`Pages of ${kind} that are loaded after one another become one list.`, async () => {
    const client = asStaff();
    const seen = watch(client, query, { filter });
    for (const length of [2, 4, 5]) {
      const data = await seen.find((page) => nodes(page).length === length, `a list of ${length}`);
      const after = data.products.pageInfo.endCursor;
      if (length < 5) await client.query(query, { filter, after }).toPromise();
      else assert.equal(data.products.pageInfo.hasNextPage, false);
    }
    assert.deepEqual(
      nodes(seen.items.at(-1)).map(({ id }) => id),
      ids,
    );
  });
}

await check('Numbered pages stay apart.', async () => {
  const client = asStaff();
  for (const [offset, expected] of [
    [0, ids.slice(0, 2)],
    [2, ids.slice(2, 4)],
    [0, ids.slice(0, 2)],
  ]) {
    const { data } = await client.query(NODES, { filter, offset }).toPromise();
    assert.deepEqual(
      data.products.nodes.map(({ id }) => id),
      expected,
    );
  }
});

await check('What a mutation renames, creates or deletes is so in the list.', async () => {
  const client = asStaff();
  const seen = watch(client, NODES, { filter });
  await seen.find((data) => data.products.nodes.length === 2, 'the first page');
  await client.mutation(RENAME, { id: ids[1], name: 'Chair 1, oak' }).toPromise();
  await seen.find((data) => names(data.products.nodes)[1] === 'Chair 1, oak', 'the new name');
  const created = await client.mutation(CREATE, { input: { ...shop.input(), name: 'A chair before all' } }).toPromise();
  const { id } = created.data.createProduct.product;
  await seen.find((data) => names(data.products.nodes)[0] === 'A chair before all', 'the new product');
  const deletion = 'mutation Delete($id: ID!) { deleteProduct(by: { id: $id }) { deletedId errors { __typename } } }';
  await client.mutation(deletion, { id }).toPromise();
  await seen.find(
    (data) => data === seen.items.at(-1) && names(data.products.nodes)[0] === 'Chair 0',
    'the list without it',
  );
});

await check('An event of a subscription updates the list.', async () => {
  const client = asStaff();
  const seen = watch(client, NODES, { filter });
  await seen.find((data) => data.products.nodes.length === 2, 'the first page');
  const events = new Inbox();
  pipe(
    client.subscription(EVENTS, { filter }),
    subscribe(({ data }) => events.add(data.productEvents)),
  );
  await checkEvents(shop, ids, events, seen);
});

await checkRefresh(url, kept, (credentials) => {
  const client = connect(credentials);
  return (query) => client.query(query, {}, { requestPolicy: 'network-only' }).toPromise();
});

await check('The cache finds nothing amiss with the kit: every type and field that it names is one.', async () => {
  assert.deepEqual(complaints, []);
});

for (const socket of sockets) socket.dispose();
await shop.tidy();
await check('A consistent fetch shows with each request what its mutations were told.', async () => {
  const { consistent } = await part(kit, 'consistency.ts');
  const shown = [];
  const fetched = consistent((input, init) => {
    shown.push(init.headers.get('x-consistency-token'));
    return fetch(input, init);
  });
  const headers = { 'content-type': 'application/json' };
  const ask = async (query) => (await fetched(url, { method: 'POST', headers, body: JSON.stringify({ query }) })).json();
  await ask('{ __typename }');
  const { extensions } = await ask('mutation { __typename }');
  const { data } = await ask('{ products { totalCount } }');
  assert.deepEqual(shown, [null, null, extensions.consistencyToken]);
  assert.equal(typeof data.products.totalCount, 'number');
});

finish(11);
