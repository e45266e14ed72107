// A client that subscribes over a WebSocket, and never closes it.

import { randomBytes } from 'node:crypto';
import net from 'node:net';

const UPGRADE = [
  'GET /graphql HTTP/1.1', 'host: localhost', 'connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13',
  'sec-websocket-protocol: graphql-transport-ws',
].join('\r\n');
const [TEXT, CLOSE] = [1, 8];

/** A frame of a client, which has to mask it, be it with zeros. */
function frame(opcode, content) {
  const head = [0x80 | opcode, 0x80 | 126, content.length >> 8, content.length & 0xff, 0, 0, 0, 0];
  return Buffer.concat([Buffer.from(head), content]);
}

export class Listener {
  #socket;
  #heard = Buffer.alloc(0);
  #query;
  #isPolite;
  /** Events so far, and why the server closed the connection. */
  events = 0;
  code;

  /** Opens one; who is not polite does not answer when the server says that it will close. */
  constructor(port, query, isPolite) {
    this.#query = query;
    this.#isPolite = isPolite;
    this.#socket = net.connect(port, '127.0.0.1').on('error', () => {});
    this.#socket.write(`${UPGRADE}\r\nsec-websocket-key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
    this.#say({ type: 'connection_init' });
    this.closed = new Promise((resolve) => this.#socket.on('close', resolve));
    let isUpgraded = false;
    this.#socket.on('data', (bytes) => {
      this.#heard = Buffer.concat([this.#heard, bytes]);
      const end = isUpgraded ? 0 : this.#heard.indexOf('\r\n\r\n') + 4;
      if (!isUpgraded && end < 4) return;
      isUpgraded = true;
      this.#heard = this.#heard.subarray(end);
      while (this.#hears());
    });
  }

  end() {
    this.#socket.destroy();
  }

  #takes({ type }) {
    if (type === 'connection_ack') this.#say({ id: 'events', type: 'subscribe', payload: { query: this.#query } });
    if (type === 'next') this.events++;
  }

  #say(message) {
    this.#socket.write(frame(TEXT, Buffer.from(JSON.stringify(message))));
  }

  /** Takes one whole frame, if there is one. */
  #hears() {
    if (this.#heard.length < 4) return false;
    const [opcode, short] = [this.#heard[0] & 0x0f, this.#heard[1]];
    const [start, length] = short < 126 ? [2, short] : [4, this.#heard.readUInt16BE(2)];
    if (this.#heard.length < start + length) return false;
    const content = this.#heard.subarray(start, start + length);
    this.#heard = this.#heard.subarray(start + length);
    if (opcode === TEXT) this.#takes(JSON.parse(content));
    if (opcode === CLOSE) {
      this.code = content.readUInt16BE(0);
      if (this.#isPolite) this.#socket.end(frame(CLOSE, content.subarray(0, 2)));
    }
    return true;
  }
}
