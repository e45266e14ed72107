// Tests the client kit with Apollo Client. TOKEN is the access token of a staff user, KIT the folder of the kit.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { OperationTypeNode } from 'graphql';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Inbox, check, finish, parameters } from './check.mjs';
import { EVENTS, RENAME, checkEvents, checkRefresh, page, part, stocked } from './kit.mjs';
import { Shop } from './shop.mjs';

const [url, token, kit] = parameters('apollo.mjs URL TOKEN KIT', 3);
const { authentication } = await part(kit, 'apollo.ts');
const { typePolicies } = await part(kit, 'typePolicies.ts');
const { default: possibleTypes } = await part(kit, 'possibleTypes.json');
const kept = await part(kit, 'credentials.ts');

const ISSUED = { accessToken: token, accessTokenExpiresAt: '2999-01-01T00:00:00Z', refreshToken: 'rt_none' };
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const clients = [];

function connect(credentials) {
  const socket = createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: kept.connectionParams(credentials),
  });
  const http = ApolloLink.from([
    authentication(credentials),
    new PersistedQueryLink({ sha256 }),
    new HttpLink({ uri: url }),
  ]);
  const client = new ApolloClient({
    cache: new InMemoryCache({ possibleTypes, typePolicies }),
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      http,
    ),
    defaultOptions: { query: { errorPolicy: 'all' } },
  });
  clients.push(client, socket);
  return client;
}

function asStaff() {
  const credentials = new kept.Credentials(kept.renewal(url));
  credentials.set(ISSUED);
  return connect(credentials);
}

/** What a watched query shows, as it changes. */
function watch(client, options) {
  const seen = new Inbox();
  const query = client.watchQuery(options);
  query.subscribe((result) => result.dataState === 'complete' && seen.add(result.data));
  return { query, seen, now: () => seen.items.at(-1) };
}

const shop = new Shop(url, token);
const ids = await stocked(shop, 5);
const filter = { sku: { startsWith: shop.prefix } };
const NODES = gql(page('nodes { ...Whole }'));
const EDGES = gql(page('edges { cursor node { ...Whole } }'));
const names = (list) => list.map(({ name }) => name);

await check('The cache keeps each object once, by its id, whatever asked for it.', async () => {
  const client = asStaff();
  await client.query({ query: NODES, variables: { filter } });
  await client.query({ query: EDGES, variables: { filter } });
  const objects = Object.keys(client.cache.extract());
  assert.deepEqual(
    objects.filter((key) => key.startsWith('Product:')).sort(),
    ids
      .slice(0, 2)
      .map((id) => `Product:${id}`)
      .sort(),
  );
  // All others belong to something.
  assert.deepEqual(
    objects.filter((key) => !/^(Product:|ROOT_QUERY$|__META$)/.test(key)),
    [],
  );
});

for (const [kind, query, nodes] of [
  ['nodes', NODES, ({ products }) => products.nodes],
  ['edges', EDGES, ({ products }) => products.edges.map(({ node }) => node)],
]) {
  await check(`Pages of ${kind} that are loaded after one another become one list.`, async () => {
    const { query: watched, seen, now } = watch(asStaff(), { query, variables: { filter } });
    await seen.find((data) => nodes(data).length === 2, 'the first page');
    for (const length of [4, 5]) {
      await watched.fetchMore({ variables: { after: now().products.pageInfo.endCursor } });
      await seen.find((data) => nodes(data).length === length, `a list of ${length}`);
    }
    assert.deepEqual(
      nodes(now()).map(({ id }) => id),
      ids,
    );
    assert.equal(now().products.pageInfo.hasNextPage, false);
  });
}

await check('Numbered pages stay apart, and a count that came first is no empty list.', async () => {
  const client = asStaff();
  const count = gql(
    'query Count($filter: ProductFilter) { products(filter: $filter, sortBy: [{ field: NAME }]) { totalCount } }',
  );
  assert.equal((await client.query({ query: count, variables: { filter } })).data.products.totalCount, 5);
  for (const [offset, expected] of [
    [undefined, ids.slice(0, 2)],
    [2, ids.slice(2, 4)],
    [0, ids.slice(0, 2)],
    [2, ids.slice(2, 4)],
  ]) {
    const { data } = await client.query({ query: NODES, variables: { filter, offset } });
    assert.deepEqual(
      data.products.nodes.map(({ id }) => id),
      expected,
    );
  }
});

await check("A mutation's result updates the list, and what was deleted leaves it.", async () => {
  const client = asStaff();
  const { seen, now } = watch(client, { query: NODES, variables: { filter } });
  await seen.find((data) => data.products.nodes.length === 2, 'the first page');
  const { data } = await client.mutate({ mutation: gql(RENAME), variables: { id: ids[1], name: 'Chair 1, oak' } });
  assert.deepEqual(data.updateProduct.errors, []);
  await seen.find((list) => names(list.products.nodes)[1] === 'Chair 1, oak', 'the new name');
  client.cache.evict({ id: client.cache.identify({ __typename: 'Product', id: ids[0] }) });
  await seen.find((list) => list.products.nodes.length === 1, 'the shorter list');
  assert.deepEqual(names(now().products.nodes), ['Chair 1, oak']);
});

await check('An event of a subscription updates the list.', async () => {
  const client = asStaff();
  const { seen } = watch(client, { query: NODES, variables: { filter } });
  await seen.find((data) => data.products.nodes.length === 2, 'the first page');
  const events = new Inbox();
  client
    .subscribe({ query: gql(EVENTS), variables: { filter } })
    .subscribe(({ data }) => events.add(data.productEvents));
  await checkEvents(shop, ids, events, seen);
});

await checkRefresh(url, kept, (credentials) => {
  const client = connect(credentials);
  return (query) => client.query({ query: gql(query), fetchPolicy: 'no-cache' });
});

for (const client of clients) (client.stop ?? client.dispose).call(client);
await shop.tidy();
finish(9);
