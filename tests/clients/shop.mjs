// Products to make events with, and what their events must be. Mutations go over plain HTTP.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { check } from './check.mjs';

export const SUBSCRIPTION = `
  subscription($filter: ProductFilter, $types: [ProductEventType!], $after: String) {
    productEvents(filter: $filter, types: $types, after: $after) {
      cursor type at productId changedFields
      product { id name version stock { available } price { amount } }
    }
  }`;

/** The same without cursors. */
export const WITHOUT_CURSOR = `
  subscription($filter: ProductFilter, $types: [ProductEventType!], $after: String) {
    productEvents(filter: $filter, types: $types, after: $after) { type productId }
  }`;

/** What a product goes through here. */
const LIFE = ['CREATED', 'STOCK_CHANGED', 'PRICE_CHANGED', 'DELETED'];

export const CREATE = `
  mutation($input: ProductInput!) {
    createProduct(input: $input) {
      product { id sku name version stock { available } price { amount currency } }
      errors { ... on UserError { code message } }
    }
  }`;

/** Sends a request over plain HTTP. */
export async function post(url, body, headers = {}) {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json', ...headers },
    body: JSON.stringify(body),
  });
}

/** The address of a request over GET. Absent parameters are left out. */
export function address(url, request) {
  const address = new URL(url);
  for (const [name, value] of Object.entries(request)) {
    address.searchParams.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  return address;
}

/** Products whose SKUs start with a prefix that no other product has. */
export class Shop {
  #left = new Set();
  #probes = new Set();

  constructor(url, token) {
    this.url = url;
    this.headers = { authorization: `Bearer ${token}` };
    this.prefix = `CLIENTS-${randomBytes(6).toString('hex').toUpperCase()}-`;
  }

  /** What the server answers; refusals are errors. */
  async ask(query, variables = {}) {
    const body = await (await post(this.url, { query, variables }, this.headers)).json();
    if (body.errors) throw body.errors;
    return body.data;
  }

  /** Variables of a subscription to the products of this shop. */
  variables(more = {}) {
    return { filter: { sku: { startsWith: this.prefix } }, types: LIFE, ...more };
  }

  /** A new product to create. */
  input() {
    const sku = `${this.prefix}${randomBytes(4).toString('hex').toUpperCase()}`;
    return { sku, name: `Lamp ${sku}`, status: 'ACTIVE', stock: 3, price: { amount: '10.00', currency: 'EUR' } };
  }

  async create() {
    const { createProduct } = await this.ask(CREATE, { input: this.input() });
    assert.deepEqual(createProduct.errors, [], 'the product is not created');
    this.keep(createProduct.product.id);
    return createProduct.product;
  }

  /** Remembers a product, to delete it at the end. */
  keep(id) {
    this.#left.add(id);
  }

  /** Creates a product only to see its event. */
  async probe() {
    const { id } = await this.create();
    this.#probes.add(id);
    return id;
  }

  /** The events of products that were not created only to see their events. */
  withoutProbes(events) {
    return events.filter((event) => !this.#probes.has(event.productId));
  }

  async adjustStock(id, delta) {
    const query = 'mutation($id: ID!, $delta: Int!) { adjustStock(by: { id: $id }, delta: $delta) { errors { __typename } } }';
    const { adjustStock } = await this.ask(query, { id, delta });
    assert.deepEqual(adjustStock.errors, [], 'the stock is not adjusted');
  }

  async setPrice(id, amount) {
    const query = `mutation($id: ID!, $patch: ProductPatch!) {
      updateProduct(by: { id: $id }, patch: $patch) { errors { __typename } }
    }`;
    const { updateProduct } = await this.ask(query, { id, patch: { price: { amount, currency: 'EUR' } } });
    assert.deepEqual(updateProduct.errors, [], 'the price is not changed');
  }

  async delete(id) {
    this.#left.delete(id);
    const query = 'mutation($id: ID!) { deleteProduct(by: { id: $id }) { errors { __typename } } }';
    const { deleteProduct } = await this.ask(query, { id });
    assert.deepEqual(deleteProduct.errors, [], 'the product is not deleted');
  }

  /** Deletes what is left. */
  async tidy() {
    assert.ok(this.#left.size > 0, 'nothing was created');
    for (const id of [...this.#left]) await this.delete(id);
  }
}

/** Creates products until each stream shows the newest one: from then on a stream misses nothing. */
export async function live(shop, ...streams) {
  let reason;
  for (let tries = 0; tries < 10; tries += 1) {
    const id = await shop.probe();
    const seen = streams.map((stream) => stream.find((event) => event.productId === id, 'a new product', 0.5));
    reason = (await Promise.allSettled(seen)).find((one) => one.status === 'rejected')?.reason;
    if (!reason) return;
  }
  throw reason;
}

/** Leads a product through its life, and gives the events that a live stream shows of it. */
async function lead(shop, stream) {
  // The next change is made only once the last one was seen, as `product` may be the product of now.
  const seen = (id, type) =>
    stream.find((event) => event.productId === id && event.type === type, `the event ${type}`);
  const { id } = await shop.create();
  await seen(id, 'CREATED');
  await shop.adjustStock(id, 2);
  await seen(id, 'STOCK_CHANGED');
  await shop.setPrice(id, '12.50');
  await seen(id, 'PRICE_CHANGED');
  await shop.delete(id);
  await seen(id, 'DELETED');
  return stream.items.filter((event) => event.productId === id);
}

/** Whether these are the events of a product that was led through its life. */
function assertLife(events) {
  assert.deepEqual(events.map((event) => event.type), LIFE);
  assert.equal(new Set(events.map((event) => event.cursor)).size, LIFE.length, 'two events have the same cursor');
  for (const event of events) {
    assert.match(event.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  }
  const [created, stock, price, deleted] = events;
  assert.equal(created.product.id, created.productId);
  assert.equal(created.product.stock.available, 3);
  assert.equal(stock.product.stock.available, 5);
  assert.equal(price.product.price.amount, '12.50');
  assert.ok(created.product.version < stock.product.version && stock.product.version < price.product.version);
  assert.equal(deleted.product, null);
  const named = (event, field) => event.changedFields.includes(field);
  assert.ok(named(stock, 'stock') && !named(stock, 'price'), `changed was ${stock.changedFields}`);
  assert.ok(named(price, 'price') && !named(price, 'stock'), `changed was ${price.changedFields}`);
}

/**
 * What a stream has shown once it shows a product that is created now. Since events come in order, nothing that
 * precedes it can come later.
 */
export async function upToNow(shop, stream) {
  const id = await shop.probe();
  await stream.find((event) => event.productId === id, 'the event of a new product');
  return shop.withoutProbes(stream.items);
}

/** What an event says that does not change with the product. */
export function lasting({ cursor, type, at, productId, changedFields }) {
  return { cursor, type, at, productId, changedFields };
}

/** Checks that a client's streams show a product's life, whole and from its first event on. Gives the events. */
export async function checkLife(shop, watch) {
  let life = [];
  await check('A subscription shows creation, stock, price and deletion of a product in order.', async () => {
    const events = watch();
    await live(shop, events);
    const seen = await lead(shop, events);
    assertLife(seen);
    life = seen;
  });
  await check('A subscription after the first event shows exactly the later ones.', async () => {
    assert.equal(life.length, 4, 'the events to go on after are missing');
    const events = await upToNow(shop, watch({ after: life[0].cursor }));
    assert.deepEqual(events.map(lasting), life.slice(1).map(lasting));
  });
  return life;
}
