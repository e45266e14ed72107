// Signs in and watches the stock change, with urql: `stockroom client-kit kit && npm install`, then
// `npm start http://127.0.0.1:8000/graphql staff@stockroom.test <password>`. Ctrl-C ends it.
import { Client, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { createClient } from 'graphql-ws';
import { pipe, subscribe } from 'wonka';
import WebSocket from 'ws';

import { connectionParams, Credentials, renewal } from './kit/credentials';
import { keys, resolvers, updates } from './kit/graphcache';
import schema from './kit/introspection.json';
import { authentication } from './kit/urql';

const [url = '', email, password] = process.argv.slice(2);
const credentials = new Credentials(renewal(url));
const socket = createClient({
  url: url.replace(/^http/, 'ws'),
  connectionParams: connectionParams(credentials),
  webSocketImpl: WebSocket,
});
const client = new Client({
  url,
  preferGetMethod: false,
  exchanges: [
    cacheExchange({ schema, keys, resolvers, updates }),
    authentication(credentials),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});

const LOGIN = gql`mutation Login($input: LoginInput!) { login(input: $input) {
  tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }
  errors { ... on UserError { message } }
} }`;
const LIST = gql`{ products(first: 3, sortBy: [{ field: NAME }]) { nodes { id name stock { available } } } }`;
const EVENTS = gql`subscription { productEvents { cursor type productId product { id name stock { available } } } }`;

const { data: signedIn } = await client.mutation(LOGIN, { input: { email, password } }).toPromise();
credentials.set(signedIn?.login.tokens ?? null);

// The list follows the events, without being asked for again.
pipe(
  client.query(LIST, {}),
  subscribe(({ data, error }) => {
    const nodes: { name: string; stock: { available: number } }[] = data?.products.nodes ?? [];
    console.log(error?.message ?? nodes.map(({ name, stock }) => `${name}: ${stock.available}`).join(', '));
  }),
);
pipe(client.subscription(EVENTS, {}), subscribe(({ error }) => error && console.error(error.message)));
