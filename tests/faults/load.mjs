// Writers that do not rest until each of their writes has its true answer, and readers that believe nothing.

import { setTimeout as sleep } from 'node:timers/promises';

import { document } from '../attacks/wire.mjs';
import { oneOf } from './dice.mjs';
import { Line } from './line.mjs';
import { INSTANCES } from './world.mjs';

/** Products that all write to. */
const HOT = 12;
/** Products of a group: a list shows all of it. */
const GROUP = 40;
/** Groups that are read: the latest, so that it costs the same whenever one looks. The others are for the end. */
const READ_GROUPS = 25;
/** What a product costs at first, and never again: what changes nothing makes no version. */
export const FIRST_PRICE = '0.25';
/** Longest wait for an answer, which is more than a server takes to say that it has none. */
const PATIENCE_MS = 15_000;
/** Longest time until a write has its true answer, once all is well. */
const LONGEST_MS = 60_000;

const SHOWN = 'id version stock { available } price { amount }';
const WRITTEN = `product { ${SHOWN} } consistencyToken errors { ... on UserError { code } }`;
const CREATE = `mutation($input: ProductInput!) { write: createProduct(input: $input) { ${WRITTEN} } }`;
const ADJUST = `mutation($id: ID!, $delta: Int!) { write: adjustStock(by: { id: $id }, delta: $delta) { ${WRITTEN} } }`;
const UPDATE = `mutation($id: ID!, $ifVersion: Int!, $patch: ProductPatch!) {
  write: updateProduct(by: { id: $id }, ifVersion: $ifVersion, patch: $patch) { ${WRITTEN} } }`;
const ONE = `query($id: ID!) { product(by: { id: $id }) { ${SHOWN} } }`;
const NODE = `query($id: ID!) { node(id: $id) { ... on Product { ${SHOWN} } } }`;
const list = (filter, sort) => `products(first: 50, filter: { ${filter} }, sortBy: [{ field: ${sort}, direction: DESC }]) {
  nodes { ${SHOWN} } }`;
const STOCKED = `query($least: Int!) { ${list('sku: { startsWith: "HOT-" }, stock: { gte: $least }', 'STOCK')} }`;
const LATEST = `{ ${list('tags: { anyOf: ["hot"] }', 'UPDATED_AT')} }`;
const PAGE = `query($after: String) { products(first: 5, after: $after, filter: { sku: { startsWith: "HOT-" } },
  sortBy: [{ field: NAME, direction: ASC }]) { nodes { ${SHOWN} } pageInfo { endCursor hasNextPage } } }`;
const MEMBERS = `query($sku: String!) { products(first: 100, filter: { sku: { startsWith: $sku } }) {
  totalCount nodes { ${SHOWN} } } }`;

/** What a server says that could not do what it was asked, or does not know whether it did. */
const FAILED = ['UNAVAILABLE', 'TIMEOUT', 'BUSY', 'CONFLICT', 'OUTCOME_UNKNOWN'];

const product = ({ id, version, stock, price }) => ({ id, version, stock: stock.available, price: price.amount });

export class Load {
  #world;
  #checker;
  #dice;
  #goes = false;
  #hot = [];
  #lonely;
  #made = 0;
  #sent = 0;
  #token;
  #pending = new Set();
  /** The instance that nobody is sent to, as balancers do with one that is not ready. */
  avoided;
  /** Requests to each instance that have no answer yet. */
  underWay = Array(INSTANCES).fill(0);
  /** What happens now, or happened last. */
  during = 'nothing';
  /** How many in a hundred attempts at a write hang up before there is an answer. */
  hangUps = 0;
  /** For each instance, when the latest write and read were sent that it answered. */
  answered = Array.from({ length: INSTANCES }, () => ({ write: 0, read: 0 }));
  writes = 0;
  refused = 0;
  failures = [];
  slowestRead = 0;

  constructor(world, checker, dice) {
    this.#world = world;
    this.#checker = checker;
    this.#dice = dice;
  }

  /** Makes the products that all write to. */
  async prepare() {
    for (let number = 0; number < HOT; number++) {
      const input = { sku: `HOT-${number}`, tags: ['hot'] };
      this.#hot.push(await this.#once((client) => this.#create(client, 'HOT', input)));
    }
    this.#lonely = await this.#once((client) => this.#create(client, 'ALONE', { sku: 'ALONE' }));
  }

  /** Begins; a writer and a reader rest for up to so many milliseconds after each request. */
  begin({ writers = 6, readers = 10, rest = 20 } = {}) {
    Object.assign(this, { writes: 0, refused: 0, failures: [], slowestRead: 0 });
    this.#goes = true;
    this.more({ writers, readers, rest });
  }

  /** So many more of them. */
  more({ writers = 0, readers = 0, rest }) {
    for (let number = 0; number < writers; number++) this.#goOn(rest, (client) => this.#writeAny(client));
    for (let number = 0; number < readers; number++) this.#goOn(rest, (client) => this.#readAny(client), number % 2 === 0);
  }

  /** Ends when each write has its true answer. */
  async end() {
    this.#goes = false;
    await Promise.all(this.#pending);
  }

  /**
   * The milliseconds until each instance has answered a read and a write that were sent after now. Asks for that
   * itself, and ends when all that it asked has its answer, so that nobody else waits for that any more.
   */
  async recovered(patience = 30_000) {
    const since = performance.now();
    const asked = [];
    let slowest = 0;
    const recovers = async (instance) => {
      const { answered } = this;
      const is = () => Math.min(answered[instance].write, answered[instance].read) > since;
      while (!is()) {
        const waited = performance.now() - since;
        if (waited > patience) throw new Error(`instance ${instance} did not recover in ${patience / 1000} s`);
        // None waits for another, which may wait in vain; but they are not to be what an instance is busy with.
        asked.push(this.#later(this.#once((client) => this.#adjust(client, oneOf(this.#dice, this.#hot), instance))));
        asked.push(this.#later(this.#once((client) => this.#readAny(client, instance))));
        await sleep(50 + waited / 10);
      }
      slowest = Math.max(slowest, performance.now() - since);
    };
    await Promise.all(Array.from({ length: INSTANCES }, (_, instance) => recovers(instance)));
    await Promise.all(asked);
    return slowest;
  }

  /** Adds to the stock of a product that nobody else writes to, once, without a key; tells what is said of it. */
  async adjustOnce(instance) {
    this.#checker.begins(this.#lonely);
    const body = document(ADJUST, { id: this.#lonely, delta: 1 });
    const answer = await this.#once((client) => this.#post(instance, client, body));
    const done = answer.data?.write?.product;
    if (done) this.#checker.acknowledges(product(done));
    return { id: this.#lonely, code: done ? 'done' : answer.code };
  }

  /** Sends one write under one key to each instance: what they say must be the same. */
  async writesOnce() {
    const [id, key] = [oneOf(this.#dice, this.#hot), `once-${this.#sent++}`];
    this.#checker.begins(id);
    const write = (client, instance) => this.#write(client, ADJUST, { id, delta: 1 }, instance, key);
    const all = this.#world.instances.map((_, instance) => this.#once((client) => write(client, instance)));
    const [first, ...others] = (await Promise.all(all)).map((done) => JSON.stringify(done));
    if (others.some((other) => other !== first)) this.#checker.tells(`one write was told as ${[first, ...others]}`);
    this.#checker.acknowledges(JSON.parse(first));
    this.writes -= others.length;
  }

  /** Goes through a list, to another instance for each page. */
  async turnsPages() {
    const question = this.#checker.asks({ ids: this.#hot });
    const shown = [];
    await this.#once(async (client) => {
      for (let page = 0, after = null; page === 0 || after; page++) {
        const answer = await this.#post(page % INSTANCES, client, document(PAGE, { after }));
        if (!answer.isWhole) return this.#failed('read', page % INSTANCES, answer);
        const { nodes, pageInfo } = answer.data.products;
        shown.push(...nodes.map(product));
        after = pageInfo.hasNextPage && pageInfo.endCursor;
      }
      return this.#checker.saw(client, question, shown);
    });
  }

  /** Whether an instance takes this token for valid. */
  async knows(instance, token) {
    const answer = await this.#once((client) => this.#post(instance, { ...client, token }, document('{ me { id } }')));
    if (!answer.isWhole && answer.code !== 'UNAUTHENTICATED') this.#failed('read', instance, answer);
    return answer.isWhole;
  }

  #later(work) {
    const pending = work.finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
    return pending;
  }

  /** Has a client work without a pause but these rests, until the load ends. */
  #goOn(rest, work, isStranger = false) {
    const going = async (client) => {
      while (this.#goes) {
        await work(client);
        await sleep(this.#dice(rest + 1));
      }
    };
    this.#later(this.#once(going, isStranger));
  }

  /** Has a client do something on a connection to each instance. */
  async #once(work, isStranger = false) {
    const lines = this.#world.instances.map(({ port }) => new Line(port));
    try {
      return await work({ lines, isStranger });
    } finally {
      for (const line of lines) line.close();
    }
  }

  /** One of the instances that one is sent to. */
  #any() {
    const instance = this.#dice(INSTANCES);
    return instance === this.avoided ? (instance + 1) % INSTANCES : instance;
  }

  async #writeAny(client) {
    const chance = this.#dice(20);
    const id = oneOf(this.#dice, this.#hot);
    if (chance < 1) {
      const group = `G${Math.floor(this.#made / GROUP)}-`;
      return this.#create(client, group, { sku: `${group}${this.#made++}` });
    }
    if (chance >= 6) return this.#adjust(client, id);
    const { version } = this.#checker.known(id);
    this.#checker.begins(id);
    // Another one each time.
    const patch = { price: { amount: `${version}.50`, currency: 'EUR' } };
    const done = await this.#write(client, UPDATE, { id, ifVersion: version, patch });
    if (done) this.#checker.acknowledges(done);
    return undefined;
  }

  async #adjust(client, id, instance) {
    this.#checker.begins(id);
    const done = await this.#write(client, ADJUST, { id, delta: 1 + this.#dice(3) }, instance);
    if (done) this.#checker.acknowledges(done);
  }

  async #create(client, group, input) {
    this.#checker.beginsIn(group);
    const price = { amount: FIRST_PRICE, currency: 'EUR' };
    const whole = { name: `Lamp ${input.sku}`, status: 'ACTIVE', stock: 1, price, ...input };
    const done = await this.#write(client, CREATE, { input: whole });
    if (!done) return undefined;
    this.#checker.acknowledgesIn(group, done);
    return done.id;
  }

  /** Sends a write under a key, again and again, until it has its true answer: what it made, or nothing if it was refused. */
  async #write(client, query, variables, first, key = `write-${this.#sent++}`) {
    const body = document(query, variables);
    const began = performance.now();
    for (let attempt = 0; ; attempt++) {
      const instance = attempt === 0 && first !== undefined ? first : this.#any();
      const hangsUp = this.#dice(100) < this.hangUps ? this.#dice(40) : undefined;
      const answer = await this.#post(instance, client, body, { 'idempotency-key': key }, hangsUp);
      const { write } = answer.data ?? {};
      if (write?.product || write?.errors?.length) this.answered[instance].write = answer.sent;
      if (write?.product) {
        this.#token = write.consistencyToken ?? this.#token;
        this.writes++;
        return product(write.product);
      }
      if (write?.errors?.length) {
        // Somebody else was first, which is true of every later attempt, too.
        const codes = write.errors.map(({ code }) => code).join();
        if (codes !== 'VERSION_CONFLICT') this.#checker.tells(`a write was refused by ${codes}`);
        this.refused++;
        return undefined;
      }
      if (hangsUp === undefined) this.#failed('write', instance, answer);
      if (performance.now() - began > LONGEST_MS && !this.#goes) {
        this.#checker.tells(`${key} has no true answer in ${LONGEST_MS / 1000} s`);
        return undefined;
      }
      await sleep(20 + this.#dice(80));
    }
  }

  async #readAny(client, on) {
    const instance = on ?? this.#any();
    const id = oneOf(this.#dice, this.#hot);
    const kind = this.#dice(5);
    // Some ask what others have just asked, others what nobody did yet.
    const least = Math.max(0, this.#checker.known(id).stock - this.#dice(4));
    const groups = Math.floor(this.#made / GROUP) + 1;
    const group = `G${groups - 1 - this.#dice(Math.min(groups, READ_GROUPS))}-`;
    const [query, variables, asked] = [
      [ONE, { id }, { ids: [id] }],
      [NODE, { id }, { ids: [id] }],
      [STOCKED, { least }, { ids: this.#hot, least }],
      [LATEST, {}, { ids: this.#hot }],
      [MEMBERS, { sku: group }, { group }],
    ][kind];
    const headers = this.#token && this.#dice(3) === 0 ? { 'x-consistency-token': this.#token } : {};
    const question = this.#checker.asks(asked);
    const answer = await this.#post(instance, client, document(query, variables), headers);
    const { product: one, node, products } = answer.data ?? {};
    if (answer.isWhole) {
      this.answered[instance].read = answer.sent;
      this.slowestRead = Math.max(this.slowestRead, answer.ms);
      const shown = products ? products.nodes : [one ?? node].filter(Boolean);
      this.#checker.saw(client, question, shown.map(product), products?.totalCount);
    } else {
      this.#failed('read', instance, answer);
      await sleep(20);
    }
  }

  #failed(what, instance, { sent, ms, status, code, text }) {
    const kind = status === 0 ? `hang-up ${code}` : code || `status ${status}`;
    // A cut connection has no code; whatever else a server says of itself must be one of few things.
    if (status !== 0 && !FAILED.includes(code)) this.#checker.tells(`a ${what} was answered ${status} ${text.slice(0, 200)}`);
    if (code === 'TIMED_OUT') {
      const asked = `a ${what} that instance ${instance} was asked for during ${this.during}`;
      this.#checker.tells(`${asked} had no answer in ${PATIENCE_MS / 1000} s`);
    }
    this.failures.push({ what, instance, kind, sent, ms });
  }

  /** Sends a request once; `hangsUp` is when to end it without waiting any longer. */
  async #post(instance, { lines, isStranger, token = this.#world.token }, body, headers = {}, hangsUp = undefined) {
    const known = isStranger ? headers : { ...headers, authorization: `Bearer ${token}` };
    const sent = performance.now();
    this.underWay[instance]++;
    const { status, text } = await lines[instance].ask(body, known, hangsUp ?? PATIENCE_MS);
    this.underWay[instance]--;
    const ms = performance.now() - sent;
    if (status === 0) return { status, code: text, text, ms, sent };
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {
      // No JSON, no data.
    }
    const { data, errors } = answer;
    const code = errors?.[0]?.extensions?.code ?? '';
    return { status, code, text, ms, sent, data, isWhole: status === 200 && data && !errors };
  }
}
