// The way from one instance to PostgreSQL or Redis, on which happens what happens in networks.

import net from 'node:net';

/** Bytes that may wait for a reader before the writer is told to. */
const MUCH = 1024 * 1024;

export class Proxy {
  #to;
  #dice;
  #server;
  #links = new Set();
  #lost = { text: undefined, chance: 0 };
  #delay = 0;
  #silent = false;
  #refuses = false;
  /** When an answer came through last, and how many replies were swallowed. */
  heardAt = 0;
  swallowed = 0;

  /** Opens one before a port of this machine. */
  static async before(port, dice) {
    const proxy = new Proxy();
    proxy.#to = port;
    proxy.#dice = dice;
    proxy.#server = net.createServer({ pauseOnConnect: true }, (client) => proxy.#accept(client));
    await new Promise((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port() {
    return this.#server.address().port;
  }

  /** From now on it leads to another port; who is on it stays on the old way. */
  leadsTo(port) {
    this.#to = port;
  }

  /** From now on each piece takes up to so many milliseconds. */
  delay(ms) {
    this.#delay = ms;
  }

  /** No byte passes, in neither direction, and nobody is told. What was sent meanwhile arrives after `heal`. */
  silence() {
    this.#silent = true;
    for (const link of this.#links) link.pause();
  }

  /** Nobody gets through any more, and everybody is told. */
  cut() {
    this.#refuses = true;
    this.reset();
  }

  /** Ends all connections at once. */
  reset() {
    for (const link of this.#links) link.reset();
  }

  /** Says on all connections that nothing more will be answered; what is asked still arrives. */
  halfClose() {
    for (const link of this.#links) link.client.end();
  }

  /** The other end of all connections is no more, and on this end nobody learns it; new ones are whole. */
  halfOpen() {
    for (const link of this.#links) link.orphan();
  }

  /** Of statements with this text so many in a hundred arrive, but their answer and their connection are lost. */
  loseReplies(text, chance) {
    this.#lost = { text, chance };
  }

  /** All is well again. */
  heal() {
    this.#lost = { text: undefined, chance: 0 };
    this.#delay = 0;
    this.#silent = false;
    this.#refuses = false;
    for (const link of this.#links) link.resume();
  }

  close() {
    this.#server.close();
    this.reset();
  }

  #accept(client) {
    if (this.#refuses) return client.resetAndDestroy();
    const link = new Link(client, net.connect(this.#to, '127.0.0.1'), {
      asked: (bytes) => this.#loses(bytes),
      heard: () => (this.heardAt = performance.now()),
      swallowed: () => this.swallowed++,
      delay: () => (this.#delay ? 1 + this.#dice(this.#delay) : 0),
      over: () => this.#links.delete(link),
    });
    this.#links.add(link);
    if (this.#silent) link.pause();
    else link.resume();
  }

  #loses(bytes) {
    const { text, chance } = this.#lost;
    return text !== undefined && bytes.includes(text) && this.#dice(100) < chance;
  }
}

/** A connection, in two halves. */
class Link {
  #server;
  #told;
  #isLosing = false;
  #orphan = false;

  constructor(client, server, told) {
    this.client = client;
    this.#server = server;
    this.#told = told;
    for (const socket of [client, server]) socket.setNoDelay(true).on('error', () => this.reset());
    this.#pass(client, server, (bytes) => (this.#isLosing ||= told.asked(bytes)));
    this.#pass(server, client, () => {
      if (!this.#isLosing) return told.heard();
      told.swallowed();
      this.reset();
    });
  }

  /** Passes on what comes, in its order, each piece as late as chance will have it. */
  #pass(from, to, look) {
    let due = 0;
    let last = Promise.resolve();
    const write = (bytes) => {
      if (to.destroyed || to.writableEnded) return;
      if (!to.write(bytes) && to.writableLength > MUCH) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    };
    from.on('data', (bytes) => {
      if (this.#orphan) return;
      look(bytes);
      const delay = this.#told.delay();
      if (!delay && !due) return write(bytes);
      due++;
      const passed = new Promise((resolve) => setTimeout(resolve, delay));
      last = Promise.all([last, passed]).then(() => {
        due--;
        write(bytes);
      });
    });
    from.on('end', () => last.then(() => this.#orphan || to.end()));
    from.on('close', () => {
      if (!this.#orphan || from === this.client) last.then(() => this.reset(false));
    });
  }

  pause() {
    this.client.pause();
    this.#server.pause();
  }

  resume() {
    this.client.resume();
    this.#server.resume();
  }

  orphan() {
    this.#orphan = true;
    this.#server.destroy();
  }

  reset(abruptly = true) {
    this.#told.over();
    for (const socket of [this.client, this.#server]) {
      if (socket.destroyed) continue;
      if (abruptly && !socket.connecting) socket.resetAndDestroy();
      else socket.destroy();
    }
  }
}
