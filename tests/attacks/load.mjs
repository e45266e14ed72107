// An honest client: a steady, modest rate of requests, whatever the answers do. It comes from another address than the
// attackers, as it would in the world.

import http from 'node:http';
import { performance } from 'node:perf_hooks';

const QUERY = 'query { products(first: 20) { nodes { name price { amount } } } }';
const BODY = JSON.stringify({ query: QUERY });
const PER_SECOND = 200;
/** Every fifth request opens a connection of its own; the others share kept ones. */
const FRESH = 5;
const PATIENCE_MS = 5000;

export class HonestClient {
  constructor(port) {
    this.port = port;
    this.agent = new http.Agent({ keepAlive: true });
  }

  /** Begins to ask. The function that it gives ends it and tells what happened. */
  start() {
    const sample = { all: [], fresh: [], failures: new Map() };
    const begun = performance.now();
    const pending = new Set();
    let sent = 0;
    const timer = setInterval(() => {
      for (; sent < ((performance.now() - begun) / 1000) * PER_SECOND; sent++) {
        const asked = this.#ask(sample, sent % FRESH === 0).finally(() => pending.delete(asked));
        pending.add(asked);
      }
    }, 2);
    return async () => {
      clearInterval(timer);
      await Promise.all(pending);
      return sample;
    };
  }

  async #ask(sample, fresh) {
    const started = performance.now();
    let failure = await this.#once(fresh);
    // A kept connection may close just as it is used again; every HTTP client then tries once more.
    if (failure === 'closed before use') failure = await this.#once(fresh);
    const ms = performance.now() - started;
    sample.all.push(ms);
    if (fresh) sample.fresh.push(ms);
    if (failure) sample.failures.set(failure, (sample.failures.get(failure) ?? 0) + 1);
  }

  /** Asks once; tells what went wrong, if anything did. */
  #once(fresh) {
    return new Promise((resolve) => {
      const request = http.request(
        {
          host: '127.0.0.1',
          localAddress: '127.0.0.2',
          port: this.port,
          path: '/graphql',
          method: 'POST',
          agent: fresh ? false : this.agent,
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(BODY) },
          signal: AbortSignal.timeout(PATIENCE_MS),
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (more) => (text += more));
          response.on('error', (error) => resolve(error.code ?? error.name));
          response.on('end', () => {
            const right = response.statusCode === 200 && text.includes('"nodes"') && !text.includes('"errors"');
            resolve(right ? undefined : `status ${response.statusCode}`);
          });
        },
      );
      request.on('error', (error) => {
        const unused = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code);
        resolve(unused ? 'closed before use' : (error.code ?? error.name));
      });
      request.end(BODY);
    });
  }
}

/** The value that `part` of the values do not exceed. */
export function percentile(values, part) {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] : NaN;
}
