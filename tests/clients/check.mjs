// What the programs share: they say of each check whether it holds, and they end in time.

import { EventEmitter, once } from 'node:events';

const PROGRAM_SECONDS = 60;
const CHECK_SECONDS = 10;

let passed = 0;
let failed = 0;

/** The program's parameters. From here on its time is limited. */
export function parameters(usage, count, seconds = PROGRAM_SECONDS) {
  const given = process.argv.slice(2);
  if (given.length !== count) {
    console.error(`Usage: node ${usage}`);
    process.exit(2);
  }
  setTimeout(() => {
    console.log(`FAILED The program ends within ${seconds} seconds.`);
    process.exit(1);
  }, seconds * 1000);
  return given;
}

/** Prints the sentence, and whether it is true: it is if `body` neither throws nor takes too long. */
export async function check(sentence, body, seconds = CHECK_SECONDS) {
  try {
    await within(seconds, body());
    passed += 1;
    console.log(`ok ${sentence}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${sentence}`);
    console.log(explain(error).replace(/^/gm, '    '));
  }
}

/** Ends the program. A check that was not run counts as failed. */
export function finish(expected) {
  const run = passed + failed;
  if (run !== expected) console.log(`FAILED ${expected} checks are run, not ${run}.`);
  console.log(`${passed} of ${expected}`);
  process.exit(passed === expected && failed === 0 ? 0 : 1);
}

/** What `promise` gives, or an error if it takes longer. */
export async function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${seconds} seconds`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** An error in words. Libraries also throw lists of GraphQL errors and the events of a socket that closed. */
export function explain(error) {
  if (Array.isArray(error)) return JSON.stringify(error);
  if (typeof error?.code === 'number') return `the socket closed: ${error.code} ${error.reason}`;
  return error?.cause ? `${error.message}: ${explain(error.cause)}` : (error?.message ?? String(error));
}

/** Keeps what comes, so that a check can wait for it. */
export class Inbox {
  items = [];
  ended = null;
  #news = new EventEmitter().setMaxListeners(0);

  add(item) {
    this.items.push(item);
    this.#news.emit('news');
  }

  /** Nothing will come any more. */
  end(why) {
    this.ended ??= why;
    this.#news.emit('news');
  }

  /** The first item that matches, now or when it comes. */
  async find(matches, what, seconds = 5) {
    const signal = AbortSignal.timeout(seconds * 1000);
    for (;;) {
      const found = this.items.find(matches);
      if (found !== undefined) return found;
      if (this.ended !== null) throw new Error(`${what} did not come, for ${this.ended}`);
      try {
        await once(this.#news, 'news', { signal });
      } catch {
        throw new Error(`${what} did not come within ${seconds} seconds; there came ${JSON.stringify(this.items)}`);
      }
    }
  }
}
