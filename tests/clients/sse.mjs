// Tests the event streams (https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md, distinct connections):
// with the client of graphql-sse, and with bare requests. TOKEN is the access token of a staff user.

import assert from 'node:assert/strict';
import { createClient } from 'graphql-sse';
import { Inbox, check, explain, finish, parameters } from './check.mjs';
import { SUBSCRIPTION, Shop, WITHOUT_CURSOR, address, checkLife, lasting, live, post, upToNow } from './shop.mjs';

const [url, token] = parameters('sse.mjs URL TOKEN', 2);
const shop = new Shop(url, token);
const client = createClient({ url, headers: shop.headers, singleConnection: false, retryAttempts: 0 });
const SERVICE = '{ service { version schemaHash } categories { id name } }';
const STREAM = { accept: 'text/event-stream' };

/** The product events that the client is given. */
function watch(more) {
  const events = new Inbox();
  client.subscribe(
    { query: SUBSCRIPTION, variables: shop.variables(more) },
    {
      next: (result) => (result.errors ? events.end(explain(result.errors)) : events.add(result.data.productEvents)),
      error: (error) => events.end(explain(error)),
      complete: () => events.end('the subscription was completed'),
    },
  );
  return events;
}

/** Sends a request without a client, and gives the stream that answers it. */
async function open(method, request, headers = {}, signal = undefined) {
  const sent = { ...STREAM, ...shop.headers, ...headers };
  const response =
    method === 'GET'
      ? await fetch(address(url, request), { headers: sent, signal })
      : await fetch(url, {
          method,
          headers: { 'content-type': 'application/json', ...sent },
          body: JSON.stringify(request),
          signal,
        });
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || !/^text\/event-stream(;|$)/.test(type)) {
    const text = response.status === 200 ? '' : await response.text();
    throw new Error(`it is no stream but ${response.status} ${type} ${text}`);
  }
  return response;
}

/** The messages of a stream as objects of their fields: `event`, `id`, `data`. */
async function* messagesOf(response) {
  let text = '';
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    text = (text + piece).replaceAll('\r\n', '\n');
    const messages = text.split('\n\n');
    text = messages.pop();
    for (const message of messages) {
      const fields = {};
      for (const line of message.split('\n')) {
        const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
        if (name !== '') fields[name] = name in fields ? `${fields[name]}\n${value}` : value;
      }
      // What has no field is a comment, which keeps the connection alive.
      if (Object.keys(fields).length > 0) yield fields;
    }
  }
}

/** The product events of a stream without a client, each with the `event` and the `id` of its message. */
async function watchBare(method, query, variables, headers) {
  const control = new AbortController();
  const response = await open(method, { query, variables }, headers, control.signal);
  const events = new Inbox();
  const read = async () => {
    for await (const { event, id, data } of messagesOf(response)) {
      const result = JSON.parse(data);
      if (!result.data?.productEvents) throw new Error(`there came ${event} ${data}`);
      events.add({ event, id, ...result.data.productEvents });
    }
  };
  read().then(() => events.end('the stream ended'), (error) => events.end(explain(error)));
  events.close = () => control.abort();
  return events;
}

/** Whether a request is refused with this status, in JSON, without data. */
async function assertRefused(response, status) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.match(response.headers.get('content-type'), /^application\/(graphql-response\+)?json(;|$)/);
  const body = JSON.parse(text);
  assert.ok(body.errors[0].message, 'the error has no message');
  assert.ok(!('data' in body), 'there is data');
}

// The client of graphql-sse.

await check('A query over a stream gives what it gives over HTTP.', async () => {
  const results = [];
  for await (const result of client.iterate({ query: SERVICE })) results.push(result);
  assert.deepEqual(results, [{ data: await shop.ask(SERVICE) }]);
});

const life = await checkLife(shop, watch);

// The stream itself.

for (const method of ['POST', 'GET']) {
  await check(`A query over ${method} is a stream of one \`next\` and a \`complete\`, and ends.`, async () => {
    const messages = [];
    for await (const message of messagesOf(await open(method, { query: SERVICE }))) messages.push(message);
    assert.deepEqual(messages.map((message) => message.event), ['next', 'complete']);
    assert.deepEqual(JSON.parse(messages[0].data), { data: await shop.ask(SERVICE) });
    // The EventSource of browsers passes over a message without a `data` line.
    assert.ok('data' in messages[1], '`complete` has no `data` line');
  });

  await check(`A subscription over ${method} is a stream of \`next\`, each with its cursor as \`id\`.`, async () => {
    assert.equal(life.length, 4, 'the events to go on after are missing');
    const stream = await watchBare(method, SUBSCRIPTION, shop.variables({ after: life[0].cursor }));
    const events = await upToNow(shop, stream);
    stream.close();
    assert.deepEqual(events.map(lasting), life.slice(1).map(lasting));
    assert.deepEqual(stream.items.map(({ event }) => event), stream.items.map(() => 'next'));
    assert.deepEqual(stream.items.map(({ id }) => id), stream.items.map(({ cursor }) => cursor));
  });
}

/** What a stream over GET shows that goes on after an event, as the id and the type of each event. */
async function goOn(variables, last) {
  const stream = await watchBare('GET', WITHOUT_CURSOR, variables, { 'last-event-id': last });
  const events = await upToNow(shop, stream);
  stream.close();
  return events.map(({ id, type }) => ({ id, type }));
}

await check('With Last-Event-ID a stream goes on exactly after that event, though no cursor is selected.', async () => {
  assert.equal(life.length, 4, 'the events to go on after are missing');
  for (const [index, { cursor }] of life.entries()) {
    const later = life.slice(index + 1).map((event) => ({ id: event.cursor, type: event.type }));
    assert.deepEqual(await goOn(shop.variables(), cursor), later);
  }
});

await check('Last-Event-ID counts more than the `after` that a browser sends again when it connects anew.', async () => {
  assert.equal(life.length, 4, 'the events to go on after are missing');
  const later = { id: life[3].cursor, type: life[3].type };
  assert.deepEqual(await goOn(shop.variables({ after: life[0].cursor }), life[2].cursor), [later]);
});

await check('A stream that is cut and resumed by its own last id shows every event once.', async () => {
  const first = await watchBare('GET', WITHOUT_CURSOR, shop.variables());
  await live(shop, first);
  const { id } = await shop.create();
  await first.find((event) => event.productId === id, 'the creation');
  first.close();
  await shop.adjustStock(id, 1);
  await shop.setPrice(id, '11.00');
  const second = await goOn(shop.variables(), first.items.at(-1).id);
  const types = [...shop.withoutProbes(first.items), ...second].map(({ type }) => type);
  assert.deepEqual(types, ['CREATED', 'STOCK_CHANGED', 'PRICE_CHANGED']);
});

// Refusals.

for (const query of ['{ nope }', 'subscription { nope }', '{ service {', '']) {
  await check(`The invalid document \`${query}\` is refused with 400 in JSON.`, async () => {
    await assertRefused(await post(url, { query }, { ...shop.headers, ...STREAM }), 400);
  });
}

await check('A mutation over GET is refused with 405 in JSON.', async () => {
  const request = address(url, { query: 'mutation { __typename }' });
  await assertRefused(await fetch(request, { headers: { ...shop.headers, ...STREAM } }), 405);
});

await check('What was created can be deleted again.', () => shop.tidy());

client.dispose();
finish(16);
