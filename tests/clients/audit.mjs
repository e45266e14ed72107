// Runs the audits of graphql-http, which hold a server to the GraphQL over HTTP specification.

import { serverAudits } from 'graphql-http';
import { check, finish, parameters } from './check.mjs';

const AUDITS = 61;

const [url] = parameters('audit.mjs URL', 1);

for (const audit of serverAudits({ url, fetchFn: fetch })) {
  await check(`${audit.id} ${audit.name}`, async () => {
    const result = await audit.fn();
    // Also a recommendation that is not followed is a failure here.
    if (result.status !== 'ok') throw new Error(`${result.status}: ${result.reason}`);
  });
}

finish(AUDITS);
