// Tests persisted queries: with Apollo Client, and with bare requests.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { check, finish, parameters } from './check.mjs';
import { address, post } from './shop.mjs';

const [url] = parameters('persisted.mjs URL', 1);
const FIELDS = '{ service { version schemaHash maxOffset } categories { id name } }';

/** An operation that no server has seen yet. */
const fresh = (kind, fields) => `${kind} Fresh${randomBytes(8).toString('hex')} ${fields}`;
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const persisted = (hash) => ({ persistedQuery: { version: 1, sha256Hash: hash } });

async function answer(response) {
  return { status: response.status, allow: response.headers.get('allow'), body: await response.json() };
}

const byPost = async (request) => answer(await post(url, request));
const byGet = async (request) =>
  answer(await fetch(address(url, request), { headers: { accept: 'application/graphql-response+json' } }));

/** Whether the server says that it does not know the hash, so that clients send the query next. */
function assertNotFound({ status, body }) {
  assert.equal(status, 200);
  assert.equal(body.errors?.[0].message, 'PersistedQueryNotFound', JSON.stringify(body));
  assert.equal(body.errors[0].extensions.code, 'PERSISTED_QUERY_NOT_FOUND');
  assert.ok(!('data' in body), 'there is data');
}

/** What a request says of its query: method, whether the query is in it, and the hash. */
async function told(input, init) {
  const request = new Request(input, init);
  const parameters = new URL(request.url).searchParams;
  const json = request.method === 'POST' ? await request.json() : Object.fromEntries(parameters);
  const extensions = typeof json.extensions === 'string' ? JSON.parse(json.extensions) : json.extensions;
  return { method: request.method, query: 'query' in json, hash: extensions?.persistedQuery?.sha256Hash };
}

for (const useGETForHashedQueries of [false, true]) {
  const method = useGETForHashedQueries ? 'GET' : 'POST';
  await check(`Apollo Client registers a query once, then sends only its hash over ${method}.`, async () => {
    const requests = [];
    const hashes = [];
    const client = new ApolloClient({
      cache: new InMemoryCache(),
      defaultOptions: { query: { fetchPolicy: 'no-cache' } },
      link: ApolloLink.from([
        new PersistedQueryLink({
          useGETForHashedQueries,
          sha256: (text) => {
            hashes.push(sha256(text));
            return hashes.at(-1);
          },
        }),
        new HttpLink({
          uri: url,
          fetch: async (input, init) => {
            requests.push(await told(input, init));
            return fetch(input, init);
          },
        }),
      ]),
    });
    const query = gql(fresh('query', FIELDS));
    const first = await client.query({ query });
    const registering = requests.splice(0);
    const second = await client.query({ query });
    client.stop();

    const [hash] = hashes;
    const hashAlone = { method, query: false, hash };
    assert.deepEqual(registering, [hashAlone, { method: 'POST', query: true, hash }]);
    assert.deepEqual(requests, [hashAlone]);
    assert.deepEqual(second.data, first.data);
    // The client adds `__typename` to what it asks for.
    const plain = await byPost({ query: '{ service { version schemaHash maxOffset __typename } categories { id name __typename } }' });
    assert.ok(plain.body.data.service, 'there is no data');
    assert.deepEqual(first.data, plain.body.data);
  });
}

await check('A hash that is not known answers 200 PersistedQueryNotFound, over POST and over GET.', async () => {
  const request = { extensions: persisted(sha256(fresh('query', FIELDS))) };
  assertNotFound(await byPost(request));
  assertNotFound(await byGet(request));
});

await check('A query with the hash of another is refused with 400, and neither is registered.', async () => {
  const [query, other] = [fresh('query', FIELDS), fresh('query', FIELDS)];
  const { status, body } = await byPost({ query, extensions: persisted(sha256(other)) });
  assert.equal(status, 400);
  assert.equal(body.errors[0].extensions.code, 'PERSISTED_QUERY_HASH_MISMATCH');
  assert.ok(!('data' in body), 'there is data');
  assertNotFound(await byPost({ extensions: persisted(sha256(other)) }));
  assertNotFound(await byPost({ extensions: persisted(sha256(query)) }));
});

await check('A mutation that is registered runs over POST by its hash, and is refused with 405 over GET.', async () => {
  const query = fresh('mutation', '{ __typename }');
  const extensions = persisted(sha256(query));
  const data = { __typename: 'Mutation' };
  assert.deepEqual((await byPost({ query, extensions })).body.data, data);
  assert.deepEqual((await byPost({ extensions })).body.data, data);
  const { status, allow, body } = await byGet({ extensions });
  assert.equal(status, 405);
  assert.equal(allow, 'POST');
  assert.ok(body.errors[0].message, 'the error has no message');
  assert.ok(!('data' in body), 'there is data');
});

finish(5);
