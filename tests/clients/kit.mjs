// The client kit as the binary wrote it, and what Apollo Client and urql must both do with it.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { check } from './check.mjs';
import { post } from './shop.mjs';

const PARALLEL = 20;

export const PRODUCT = `
  fragment Whole on Product { id name version price { amount currency } stock { available state } }`;

/** A page of the products of a shop, by nodes or by edges. */
export const page = (items) => `
  query Page($filter: ProductFilter, $after: String, $offset: Int) {
    products(filter: $filter, first: 2, after: $after, offset: $offset, sortBy: [{ field: NAME }]) {
      ${items} pageInfo { hasNextPage endCursor }
    }
  }
  ${PRODUCT}`;

export const RENAME = `
  mutation Rename($id: ID!, $name: String!) {
    updateProduct(by: { id: $id }, patch: { name: $name }) { product { ...Whole } errors { ... on UserError { code } } }
  }
  ${PRODUCT}`;

export const EVENTS = `
  subscription Events($filter: ProductFilter) {
    productEvents(filter: $filter) { cursor type productId product { ...Whole } }
  }
  ${PRODUCT}`;

/** A module of the kit. */
export const part = (kit, name) => import(pathToFileURL(`${kit}/${name}`));

/** Products of a shop whose names are in order. */
export async function stocked(shop, count) {
  const products = [];
  for (let n = 0; n < count; n += 1) {
    const input = { ...shop.input(), name: `Chair ${n}` };
    const { createProduct } = await shop.ask(
      'mutation($input: ProductInput!) { createProduct(input: $input) { product { id } errors { __typename } } }',
      { input },
    );
    assert.deepEqual(createProduct.errors, []);
    shop.keep(createProduct.product.id);
    products.push(createProduct.product.id);
  }
  return products;
}

/** Opens an account. */
export async function register(url) {
  const input = { email: `${randomBytes(8).toString('hex')}@stockroom.test`, password: 'correct horse battery' };
  const query = `mutation($input: RegisterInput!) { register(input: $input) {
    user { id } tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }
    errors { ... on UserError { message } } } }`;
  const { data } = await (await post(url, { query, variables: { input } })).json();
  assert.deepEqual(data.register.errors, []);
  return { ...data.register, ...input };
}

/** Whether the first of the products has the stock in a list that an event told of. */
export async function checkEvents(shop, ids, events, seen) {
  // From the first event that is seen, none is missed.
  for (let delta = 1; events.items.length === 0; delta += 1) {
    await shop.adjustStock(ids[2], delta);
    await pause(50);
  }
  await shop.adjustStock(ids[0], 1000);
  await seen.find((data) => data.products.nodes[0].stock.available === 1003, 'the new stock');
}

/** Asks again where the machine has too much to do. */
async function insist(ask, query) {
  for (;;) {
    const answer = await ask(query);
    const errors = answer.error?.graphQLErrors ?? answer.error?.errors ?? [];
    if (!errors.some(({ extensions }) => ['BUSY', 'TIMEOUT', 'UNAVAILABLE'].includes(extensions?.code))) return answer;
  }
}

/** An operation that nothing takes for another. */
const whoAmI = (n) => `query Who${n} { me { id } }`;

/**
 * Whether tokens are renewed once for all who need it. `connect` gives a function that asks the server, as a client with
 * these credentials does.
 */
export async function checkRefresh(url, { Credentials, renewal }, connect) {
  const { user, tokens } = await register(url);
  const plain = globalThis.fetch;
  let refreshes = 0;
  let credentials;
  const start = (first) => {
    refreshes = 0;
    credentials = new Credentials(renewal(url));
    credentials.set(first);
    return connect(credentials);
  };
  globalThis.fetch = async (input, init) => {
    const body = String(init?.body ?? '');
    if (body.includes('refreshTokens')) {
      const response = await plain(input, init);
      // One that a busy machine did not answer is asked for again.
      if (!(await response.clone().json()).errors) refreshes += 1;
      return response;
    }
    const used = credentials.current?.accessToken;
    const response = await plain(input, init);
    // One answer that refuses comes late: the others have new tokens already.
    if (response.status === 401 && body.includes(`Who${PARALLEL - 1}`)) {
      while (credentials.current?.accessToken === used) await pause(5);
    }
    return response;
  };
  const ids = (answers) => answers.map(({ data, error }) => data?.me?.id ?? error?.message);
  const all = (ask) => Promise.all(Array.from({ length: PARALLEL }, (_, n) => insist(ask, whoAmI(n))));

  let current = tokens;
  await check(
    `${PARALLEL} queries at once whose token has ended make one refresh call, and all are answered.`,
    async () => {
      const answers = await all(start({ ...current, accessTokenExpiresAt: new Date(0).toISOString() }));
      current = credentials.current;
      assert.deepEqual(ids(answers), Array(PARALLEL).fill(user.id));
      assert.equal(refreshes, 1);
      assert.notEqual(current.refreshToken, tokens.refreshToken);
    },
  );
  await check(
    `${PARALLEL} queries at once whose token is refused make one refresh call, and all are answered.`,
    async () => {
      const answers = await all(start({ ...current, accessToken: 'e30.e30.e30' }));
      assert.deepEqual(ids(answers), Array(PARALLEL).fill(user.id));
      assert.equal(refreshes, 1);
    },
  );
  await check('Whose session is no more is told so, and is a stranger from then on.', async () => {
    const ask = start({ ...current, accessToken: 'e30.e30.e30', refreshToken: 'rt_none' });
    await ask(whoAmI(0));
    assert.equal(refreshes, 1);
    assert.equal(credentials.current, null);
    assert.equal((await insist(ask, whoAmI(1))).data.me, null);
    assert.equal(refreshes, 1);
  });
  globalThis.fetch = plain;
}
