// Whether what clients see can be true.
//
// One process sends every request and hears every answer, so its own order of events is the clock of all clients. A read
// must show a version between two bounds: the highest that was acknowledged before the read was sent, and the highest that
// all writes sent before its answer can have made. A version has one content, what is acknowledged is in every list whose
// filter it matches, and no client sees anything become older.

/** Contents of one product that are remembered, and products that a client has seen. */
const REMEMBERED = 2_000;
/** Violations that are told in full. */
const TOLD = 20;

export class Checker {
  #products = new Map();
  #groups = new Map();
  violations = [];
  violated = 0;
  reads = 0;

  /** A product that there is. */
  exists({ id, version, stock, price }) {
    const first = [version, { content: `${stock} at ${price}`, acknowledged: true }];
    this.#products.set(id, { begun: version, version, stock, contents: new Map([first]) });
  }

  /** A write to this product is sent for the first time. */
  begins(id) {
    this.#products.get(id).begun++;
  }

  /** A write is acknowledged with what it made of its product. */
  acknowledges({ id, version, stock, price }) {
    const product = this.#products.get(id);
    this.#compare(id, product, version, `${stock} at ${price}`);
    const made = product.contents.get(version);
    if (made.acknowledged) this.#violation(`two writes to ${id} were told that they made version ${version}`);
    made.acknowledged = true;
    if (version > product.version) Object.assign(product, { version, stock });
  }

  /** A product is about to be made in this group. */
  beginsIn(group) {
    this.#group(group).begun++;
  }

  /** It is made. */
  acknowledgesIn(group, product) {
    if (this.#products.has(product.id)) return this.#violation(`${product.id} was made twice`);
    this.exists(product);
    this.#group(group).members.push(product.id);
  }

  /** What of a product is acknowledged. */
  known(id) {
    const { version, stock } = this.#products.get(id);
    return { version, stock };
  }

  /** A read is sent now, of these products, or of all in this group. What it gives is for [`saw`]. */
  asks({ ids, group, least = 0 }) {
    const members = group === undefined ? ids : [...this.#group(group).members];
    const floors = new Map(members.map((id) => [id, this.known(id)]));
    const expected = members.filter((id) => floors.get(id).stock >= least);
    return { floors, expected, group, least };
  }

  /** What it showed to this client, and how many products it counted if it did. `client` is whatever the client is kept in. */
  saw(client, { floors, expected, group, least }, shown, counted) {
    this.reads++;
    const seen = (client.seen ??= new Map());
    let strangers = 0;
    for (const { id, version, stock, price } of shown) {
      const floor = floors.get(id)?.version ?? 0;
      if (version < floor) this.#violation(`${id} is shown in version ${version}, when ${floor} was acknowledged`);
      if (version < (seen.get(id) ?? 0)) this.#violation(`a client sees ${id} go back from ${seen.get(id)} to ${version}`);
      // What was seen last is the last.
      seen.delete(id);
      seen.set(id, version);
      forget(seen);
      if (stock < least) this.#violation(`${id} is shown with a stock of ${stock} where ${least} was asked for`);
      const product = this.#products.get(id);
      if (product) this.#compare(id, product, version, `${stock} at ${price}`);
      else strangers++;
    }
    const ids = new Set(shown.map(({ id }) => id));
    if (ids.size < shown.length) this.#violation('a list shows a product twice');
    for (const id of expected) if (!ids.has(id)) this.#violation(`${id} is missing where it was acknowledged to be`);
    if (group === undefined) return;
    const { begun, members } = this.#group(group);
    if (strangers > begun - members.length) this.#violation(`${group} shows ${strangers} products that nobody made`);
    if (counted < expected.length) this.#violation(`${group} counts ${counted}, when ${expected.length} were acknowledged`);
    if (counted > begun) this.#violation(`${group} counts ${counted}, when ${begun} were begun`);
  }

  /** Holds what the database has against what was acknowledged; `rows` are all products. */
  finds(rows) {
    const found = new Map(rows.map((row) => [row.id, row]));
    for (const [id, { version, stock }] of this.#products) {
      const row = found.get(id);
      if (!row) this.#violation(`${id} was acknowledged, and is lost`);
      else if (row.version !== version) this.#violation(`${id} has version ${row.version}, acknowledged was ${version}`);
      else if (row.stock !== stock) this.#violation(`${id} has a stock of ${row.stock}, acknowledged was ${stock}`);
    }
    if (found.size > this.#products.size) {
      this.#violation(`there are ${found.size} products, acknowledged were ${this.#products.size}`);
    }
  }

  /** Tells something else that must not be. */
  tells(text) {
    this.#violation(text);
  }

  #violation(text) {
    this.violated++;
    if (this.violations.length < TOLD) this.violations.push(text);
  }

  #compare(id, product, version, content) {
    const { begun, contents } = product;
    if (version > begun) this.#violation(`${id} is shown in version ${version}, when ${begun} were begun`);
    const known = contents.get(version);
    if (known && known.content !== content) {
      this.#violation(`version ${version} of ${id} is both ${known.content} and ${content}`);
    }
    if (!known) contents.set(version, { content, acknowledged: false });
    forget(contents);
  }

  #group(name) {
    let group = this.#groups.get(name);
    if (!group) this.#groups.set(name, (group = { begun: 0, members: [] }));
    return group;
  }
}

/** Forgets what has been there for longest, if it is too much. */
function forget(map) {
  if (map.size > REMEMBERED) map.delete(map.keys().next().value);
}

const ONE = { id: 'one', version: 1, stock: 5, price: '1.00' };
const two = { ...ONE, version: 2, stock: 6 };

/** Histories of which each but the first is wrong in one way. */
const HISTORIES = {
  'all is well': (checker) => {
    const reader = {};
    const early = checker.asks({ ids: ['one'] });
    checker.begins('one');
    checker.saw(reader, checker.asks({ ids: ['one'] }), [two]);
    checker.acknowledges(two);
    checker.saw({}, early, [ONE]);
    checker.beginsIn('group');
    checker.saw(reader, checker.asks({ group: 'group' }), [{ ...ONE, id: 'new' }], 1);
    checker.acknowledgesIn('group', { ...ONE, id: 'new' });
    checker.saw(reader, checker.asks({ group: 'group' }), [{ ...ONE, id: 'new' }], 1);
    checker.finds([two, { ...ONE, id: 'new' }]);
  },
  'is shown in version 1, when 2 was acknowledged': (checker) => {
    checker.begins('one');
    checker.acknowledges(two);
    checker.saw({}, checker.asks({ ids: ['one'] }), [ONE]);
  },
  'is shown in version 2, when 1 were begun': (checker) => checker.saw({}, checker.asks({ ids: ['one'] }), [two]),
  'go back from 2 to 1': (checker) => {
    const reader = {};
    const [first, second] = [checker.asks({ ids: ['one'] }), checker.asks({ ids: ['one'] })];
    checker.begins('one');
    checker.saw(reader, first, [two]);
    checker.saw(reader, second, [ONE]);
  },
  'is both 5 at 1.00 and 7 at 1.00': (checker) => checker.saw({}, checker.asks({ ids: ['one'] }), [{ ...ONE, stock: 7 }]),
  'were told that they made version 2': (checker) => {
    checker.begins('one');
    checker.acknowledges(two);
    checker.acknowledges(two);
  },
  'is missing where it was acknowledged to be': (checker) => checker.saw({}, checker.asks({ ids: ['one'], least: 5 }), []),
  'with a stock of 5 where 6 was asked for': (checker) => checker.saw({}, checker.asks({ ids: ['one'], least: 6 }), [ONE]),
  'a list shows a product twice': (checker) => checker.saw({}, checker.asks({ ids: ['one'] }), [ONE, ONE]),
  'counts 0, when 1 were acknowledged': (checker) => {
    checker.beginsIn('group');
    checker.acknowledgesIn('group', { ...ONE, id: 'new' });
    checker.saw({}, checker.asks({ group: 'group' }), [{ ...ONE, id: 'new' }], 0);
  },
  'counts 1, when 0 were begun': (checker) => checker.saw({}, checker.asks({ group: 'group' }), [], 1),
  'shows 1 products that nobody made': (checker) => {
    checker.saw({}, checker.asks({ group: 'group' }), [{ ...ONE, id: 'new' }], 0);
  },
  'new was made twice': (checker) => {
    checker.beginsIn('group');
    checker.acknowledgesIn('group', { ...ONE, id: 'new' });
    checker.acknowledgesIn('group', { ...ONE, id: 'new' });
  },
  'was acknowledged, and is lost': (checker) => checker.finds([]),
  'has version 2, acknowledged was 1': (checker) => checker.finds([two]),
  'has a stock of 6, acknowledged was 5': (checker) => checker.finds([{ ...ONE, stock: 6 }]),
  'there are 2 products, acknowledged were 1': (checker) => checker.finds([ONE, { ...ONE, id: 'other' }]),
};

/** What a checker misses of histories that are wrong, or sees in one that is not: nothing, if it is fit to be believed. */
export function checkChecker() {
  return Object.entries(HISTORIES).flatMap(([wrong, history], number) => {
    const checker = new Checker();
    checker.exists(ONE);
    history(checker);
    const told = checker.violations.join('; ');
    const isRight = number === 0 ? told === '' : checker.violated === 1 && told.includes(wrong);
    return isRight ? [] : [`of a history where "${wrong}" it says "${told}"`];
  });
}
