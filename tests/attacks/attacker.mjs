// The thread of one attack. It is polite to the honest client on the same machine: the server's time is what it takes.

import os from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';

import * as connections from './connections.mjs';
import * as requests from './requests.mjs';

// On Linux this is for this thread alone.
os.setPriority(10);
const { attack, ...context } = workerData;
const { seen, checks } = await { ...connections, ...requests }[attack](context);
parentPort.postMessage({ seen, checks });
