// A client's connection to an instance, kept from one request to the next, with no more HTTP than they speak here.

import net from 'node:net';

const HEAD = [
  'POST /graphql HTTP/1.1', 'host: localhost', 'content-type: application/json',
  'accept: application/graphql-response+json', '',
].join('\r\n');

/** The bytes of a request. */
function request(body, headers) {
  const named = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `${HEAD}${named}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

export class Line {
  #port;
  #socket;
  #heard = Buffer.alloc(0);
  /** What takes the answer to the request that has none yet. */
  #tell;

  constructor(port) {
    this.#port = port;
  }

  /** Sends a request, and hangs up if there is no answer in `patience` milliseconds; then, too, the status is 0. */
  ask(body, headers, patience) {
    return new Promise((resolve) => {
      const late = setTimeout(() => this.#over('TIMED_OUT'), patience);
      this.#tell = (status, text) => {
        clearTimeout(late);
        this.#tell = undefined;
        resolve({ status, text });
      };
      this.#socket ??= this.#open();
      this.#socket.write(request(body, headers));
    });
  }

  close() {
    this.#over('closed');
  }

  #open() {
    const socket = net.connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    let reason = 'ECONNRESET';
    socket.on('data', (bytes) => this.#hears(bytes)).on('error', ({ code }) => (reason = code));
    socket.on('close', () => socket === this.#socket && this.#over(reason));
    return socket.on('end', () => socket === this.#socket && this.#over(reason));
  }

  #hears(bytes) {
    this.#heard = this.#heard.length ? Buffer.concat([this.#heard, bytes]) : bytes;
    const end = this.#heard.indexOf('\r\n\r\n') + 4;
    if (end < 4) return;
    const head = this.#heard.latin1Slice(0, end);
    const length = /\r\ncontent-length: (\d+)/i.exec(head);
    if (!length) return this.#over('no content-length');
    const whole = end + Number(length[1]);
    if (this.#heard.length < whole) return;
    const text = this.#heard.utf8Slice(end, whole);
    this.#heard = this.#heard.subarray(whole);
    this.#tell?.(Number(head.slice(9, 12)), text);
    if (/\r\nconnection: close/i.test(head)) this.#over('closed');
  }

  /** Ends the connection; the next request has a new one. */
  #over(reason) {
    this.#socket?.destroy();
    this.#socket = undefined;
    this.#heard = Buffer.alloc(0);
    this.#tell?.(0, reason);
  }
}
