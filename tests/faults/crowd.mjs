// A crowd, as who runs it sees it.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** In the world the crowd has machines of its own, which nobody takes: here it comes first, where one may say so. */
const FIRST = spawnSync('chrt', ['--rr', '1', 'true']).status === 0 ? ['chrt', '--rr', '1'] : [];

export class Crowd {
  #process;

  /** Clients of these instances, who do not ask yet. */
  static async gather(ports) {
    const crowd = new Crowd();
    const [program, ...words] = [...FIRST, process.execPath, fileURLToPath(new URL('askers.mjs', import.meta.url))];
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'];
    crowd.#process = spawn(program, [...words, ports.join()], { stdio, serialization: 'advanced' });
    await once(crowd.#process, 'message');
    return crowd;
  }

  /** Has it ask; tells how many were served in a second, and how often there was which answer. */
  async asks(how) {
    this.#process.send(how);
    const [{ seconds, answers }] = await once(this.#process, 'message');
    return { served: (answers.get('served') ?? 0) / seconds, answers };
  }

  leaves() {
    this.#process.disconnect();
  }
}
