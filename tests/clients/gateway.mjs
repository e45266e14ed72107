// A real gateway for the tests, with the configuration of deploy/. It composes the two services, says its port, and ends when
// its input does. Tests have services on ports of their own, and name them in the address: `/graphql?accounts=1&catalog=2`.

import { createServer } from 'node:http';

import { createGatewayRuntime } from '@graphql-hive/gateway-runtime';
import http from '@graphql-mesh/transport-http';

import { gatewayConfig } from '../../deploy/gateway.config.mjs';
import { compose } from './compose.mjs';

const asked = new WeakMap();

const routed = {
  onFetch({ url, setURL, context }) {
    const at = new URL(url);
    const port = new URL(context.request.url).searchParams.get(at.hostname);
    asked.set(context.request, (asked.get(context.request) ?? 0) + 1);
    setURL(`http://127.0.0.1:${port}${at.pathname}`);
  },
  onResponse({ request, response }) {
    response.headers.set('x-requests-to-services', String(asked.get(request) ?? 0));
  },
};

const gateway = createGatewayRuntime({
  ...gatewayConfig,
  supergraph: compose(...process.argv.slice(2)).supergraphSdl,
  transports: { http },
  plugins: () => [...gatewayConfig.plugins(), routed],
  logging: 'error',
});
const server = createServer(gateway);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
