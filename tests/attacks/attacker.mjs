// The process of one attack: it waits for the word, attacks, and tells what it saw.

import * as connections from './connections.mjs';
import * as requests from './requests.mjs';

process.on('disconnect', () => process.exit());
process.once('message', async ({ attack, ...context }) => {
  const { seen, checks } = await { ...connections, ...requests }[attack](context);
  process.send({ seen, checks });
});
process.send('ready');
