// Tests the WebSocket API: with the client of graphql-ws, and with bare sockets that break the rules of its protocol
// (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md). TOKEN is the access token of a staff user.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { Inbox, check, explain, finish, parameters } from './check.mjs';
import { CREATE, SUBSCRIPTION, Shop, checkLife, live, post } from './shop.mjs';

const [url, token] = parameters('websocket.mjs URL TOKEN', 2);
const socketUrl = url.replace(/^http/, 'ws');
const shop = new Shop(url, token);
const clients = [];

/** A client of its own connection. */
function connect(connectionParams = { Authorization: `Bearer ${token}` }) {
  const client = createClient({ url: socketUrl, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 });
  clients.push(client);
  return client;
}

/** The messages `next` of an operation as `items`; at its end `completed`, or the error in `error`. */
function operate(query, variables = {}, client = connect()) {
  const results = new Inbox();
  const sink = {
    next: (result) => results.add(result),
    error: (error) => {
      results.error = error;
      results.end('the operation failed');
    },
    complete: () => {
      results.completed = true;
      results.end('the operation was completed');
    },
  };
  client.subscribe({ query, variables }, sink);
  return results;
}

/** The result of an operation that has one. */
async function execute(query, variables, client) {
  const results = operate(query, variables, client);
  await ended(results);
  if (results.error) throw results.error;
  assert.equal(results.items.length, 1, 'it has none or several results');
  return results.items[0];
}

async function ended(results) {
  await results.find(() => results.ended !== null, 'the end').catch((error) => {
    if (results.ended === null) throw error;
  });
}

/** The errors with which an operation ends that gives no result. */
async function errorsOf(results) {
  await ended(results);
  assert.deepEqual(results.items, [], 'it has a result');
  if (!Array.isArray(results.error)) {
    throw new Error(`${results.ended} without errors${results.error ? `: ${explain(results.error)}` : ''}`);
  }
  return results.error;
}

/** The product events that a subscription gives, on a connection of its own. */
function watch(more) {
  const events = new Inbox();
  connect().subscribe(
    { query: SUBSCRIPTION, variables: shop.variables(more) },
    {
      next: (result) => (result.errors ? events.end(JSON.stringify(result.errors)) : events.add(result.data.productEvents)),
      error: (error) => events.end(explain(error)),
      complete: () => events.end('the subscription was completed'),
    },
  );
  return events;
}

/** A socket without a client. What the server sends is in `inbox`; `closed` gives the close code and reason. */
async function open(options = {}, protocol = 'graphql-transport-ws') {
  const socket = new WebSocket(socketUrl, protocol, options);
  const inbox = new Inbox();
  socket.on('error', () => {}); // `close` follows
  socket.on('message', (text) => inbox.add(parse(String(text))));
  const closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => {
      inbox.end(`the socket closed: ${code} ${reason}`);
      resolve({ code, reason: String(reason) });
    });
  });
  await once(socket, 'open');
  const send = (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  return { socket, inbox, closed, send };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { type: 'not JSON', text };
  }
}

/** A socket with which an operation can be started. */
async function ready(options) {
  const connection = await open(options);
  connection.send({ type: 'connection_init', payload: { Authorization: `Bearer ${token}` } });
  await connection.inbox.find(({ type }) => type === 'connection_ack', 'connection_ack');
  return connection;
}

/** The HTTP status with which the server refuses to open a socket. */
async function refused(options, protocol) {
  const socket = new WebSocket(socketUrl, protocol, options);
  socket.on('error', () => {}); // what `terminate` leads to
  try {
    const status = new Promise((resolve) => socket.on('unexpected-response', (_, response) => resolve(response.statusCode)));
    const opened = once(socket, 'open').then(() => 'a socket');
    return await Promise.race([status, opened]);
  } finally {
    socket.terminate();
  }
}

const subscribe = (id, variables = shop.variables()) => ({ id, type: 'subscribe', payload: { query: SUBSCRIPTION, variables } });

/** The events that a socket without a client shows of one subscription. */
function eventsOf({ inbox }, id) {
  const matching = (matches) => (message) =>
    message.type === 'next' && message.id === id && matches(message.payload.data.productEvents);
  return { find: (matches, ...more) => inbox.find(matching(matches), ...more) };
}

/** Answers once the server has read everything that was sent before. */
async function settled(connection, mark) {
  connection.send({ type: 'ping', payload: { mark } });
  return connection.inbox.find((message) => message.type === 'pong' && message.payload?.mark === mark, 'pong');
}

// Operations with one result.

await check('A query over the socket gives what it gives over HTTP.', async () => {
  const query = '{ service { version schemaHash } categories { id name path } me { id role } }';
  const { data, errors } = await execute(query);
  assert.equal(errors, undefined);
  assert.deepEqual(data, await shop.ask(query));
});

await check('A mutation over the socket makes what HTTP then shows.', async () => {
  const { data, errors } = await execute(CREATE, { input: shop.input() });
  assert.equal(errors, undefined);
  assert.deepEqual(data.createProduct.errors, []);
  const made = data.createProduct.product;
  shop.keep(made.id);
  const query = '($id: ID!) { product(by: { id: $id }) { id sku name version stock { available } price { amount currency } } }';
  assert.deepEqual((await shop.ask(`query${query}`, { id: made.id })).product, made);
});

await check('A mutation over a socket without a token is refused as it is over HTTP.', async () => {
  const variables = { input: shop.input() };
  const overHttp = await (await post(url, { query: CREATE, variables })).json();
  const overSocket = operate(CREATE, variables, connect({}));
  await ended(overSocket);
  // Either the operation is refused, or its field fails.
  const errors = overSocket.items[0]?.errors ?? overSocket.error;
  if (!Array.isArray(errors)) throw new Error(`there are no errors: ${explain(errors)}`);
  const code = overHttp.errors[0].extensions.code;
  assert.equal(errors[0].extensions.code, code);
  assert.ok(code, 'the error has no code');
});

// Subscriptions.

const life = await checkLife(shop, watch);

await check('A subscription to refills and deletions shows only these.', async () => {
  assert.equal(life.length, 4, 'the events to go on after are missing');
  const { id } = await shop.create();
  await shop.adjustStock(id, -3);
  await shop.adjustStock(id, 4);
  await shop.delete(id);
  const events = watch({ after: life.at(-1).cursor, types: ['BACK_IN_STOCK', 'DELETED'] });
  await events.find((event) => event.productId === id && event.type === 'DELETED', 'the deletion');
  const seen = events.items.filter((event) => event.productId === id);
  assert.deepEqual(seen.map((event) => event.type), ['BACK_IN_STOCK', 'DELETED']);
  assert.deepEqual(events.items, seen, 'there are other events');
});

await check('A malformed `after` is an error, BAD_USER_INPUT, and no result.', async () => {
  const [error] = await errorsOf(operate(SUBSCRIPTION, shop.variables({ after: 'not a cursor' })));
  assert.equal(error.extensions.code, 'BAD_USER_INPUT');
});

for (const document of ['{ nope }', 'subscription { nope }', '{ service {']) {
  await check(`The invalid document \`${document}\` is an error, and no result.`, async () => {
    const [error] = await errorsOf(operate(document));
    assert.ok(error.message, 'the error has no message');
  });
}

await check('A client that completes a subscription gets nothing more of it.', async () => {
  const connection = await ready();
  connection.send(subscribe('left'));
  connection.send(subscribe('kept'));
  await live(shop, eventsOf(connection, 'left'), eventsOf(connection, 'kept'));
  connection.send({ id: 'left', type: 'complete' });
  const pong = await settled(connection, 'completed');
  const { id } = await shop.create();
  await eventsOf(connection, 'kept').find((event) => event.productId === id, 'the event of the other subscription');
  await settled(connection, 'afterwards');
  const later = connection.inbox.items.slice(connection.inbox.items.indexOf(pong));
  assert.deepEqual(later.filter((message) => message.id === 'left'), []);
  connection.socket.close();
});

// The rules of the protocol.

await check('A ping is answered by a pong with its payload.', async () => {
  const { socket, inbox, send } = await ready();
  send({ type: 'ping', payload: { lamp: ['brass', 1] } });
  const pong = await inbox.find(({ type }) => type === 'pong', 'pong');
  assert.deepEqual(pong, { type: 'pong', payload: { lamp: ['brass', 1] } });
  socket.close();
});

await check('A socket without connection_init is closed with 4408 after about 3 seconds.', async () => {
  const opened = Date.now();
  const { closed } = await open();
  const { code } = await closed;
  const seconds = (Date.now() - opened) / 1000;
  assert.equal(code, 4408);
  assert.ok(seconds > 2 && seconds < 5, `it took ${seconds} seconds`);
});

await check('A second connection_init closes the socket with 4429.', async () => {
  const { closed, send } = await ready();
  send({ type: 'connection_init' });
  assert.deepEqual(await closed, { code: 4429, reason: 'Too many initialisation requests' });
});

await check('A subscribe before the acknowledgement closes the socket with 4401.', async () => {
  const { closed, send } = await open();
  send(subscribe('early'));
  assert.equal((await closed).code, 4401);
});

await check('A bad token in connection_init closes the socket with 4403.', async () => {
  const { closed, inbox, send } = await open();
  send({ type: 'connection_init', payload: { Authorization: 'Bearer nonsense' } });
  assert.equal((await closed).code, 4403);
  assert.deepEqual(inbox.items, []);
});

await check('An id that is in use closes the socket with 4409.', async () => {
  const connection = await ready();
  connection.send(subscribe('twice'));
  await live(shop, eventsOf(connection, 'twice'));
  connection.send(subscribe('twice'));
  assert.deepEqual(await connection.closed, { code: 4409, reason: 'Subscriber for twice already exists' });
});

await check('A message of an unknown type closes the socket with 4400.', async () => {
  const { closed, send } = await ready();
  send({ type: 'sing' });
  assert.equal((await closed).code, 4400);
});

await check('A message that is not JSON closes the socket with 4400.', async () => {
  const { closed, send } = await ready();
  send('{"type":');
  assert.equal((await closed).code, 4400);
});

await check('Of 21 subscriptions on a socket 20 show an event, and the last closes it with 4429.', async () => {
  const connection = await ready();
  const ids = Array.from({ length: 20 }, (_, index) => `subscription-${index}`);
  for (const id of ids) connection.send(subscribe(id));
  await live(shop, ...ids.map((id) => eventsOf(connection, id)));
  connection.send(subscribe('one-too-many'));
  assert.equal((await connection.closed).code, 4429);
});

await check('A message of 20 KiB closes the socket with 1009.', async () => {
  const connection = await ready();
  // The same with less in it is welcome.
  await settled(connection, 'x'.repeat(1024));
  connection.send({ type: 'ping', payload: { mark: 'x'.repeat(20 * 1024) } });
  assert.equal((await connection.closed).code, 1009);
});

await check('A socket without the sub-protocol is refused with HTTP 400.', async () => {
  assert.equal(await refused({}, []), 400);
  (await open()).socket.close(); // with it one opens
});

await check('A page of another origin is refused with HTTP 403.', async () => {
  assert.equal(await refused({ origin: 'http://evil.example' }, 'graphql-transport-ws'), 403);
});

await check("A page of the server's own origin may open a socket.", async () => {
  const { socket } = await ready({ origin: new URL(url).origin });
  socket.close();
});

await check('What was created can be deleted again.', () => shop.tidy());

for (const client of clients) client.dispose();
finish(25);
