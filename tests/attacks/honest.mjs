// The process of the honest client: it asks from `begin` to `end`, and then tells what happened.

import { HonestClient } from './load.mjs';

const honest = new HonestClient(Number(process.argv[2]));
let end;
process.on('disconnect', () => process.exit());
process.on('message', async (word) => {
  if (word === 'begin') end = honest.start();
  else process.send(await end());
});
process.send('ready');
