// Prints what a gateway serves: `node supergraph.mjs accounts.graphql catalog.graphql`.

import { argv } from 'node:process';

import { compose } from './compose.mjs';

console.log(compose(...argv.slice(2)).supergraphSdl);
