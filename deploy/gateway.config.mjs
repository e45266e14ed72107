// Hive Gateway before the two services: `hive-gateway supergraph -c gateway.config.mjs`. What it serves is composed of what
// `stockroom schema --services accounts` and `stockroom schema --services catalog` print.

// What the services must know of a client's request. A balancer before the gateway writes X-Forwarded-For; the services
// believe it if the gateway is in their TRUSTED_PROXIES.
const PASSED_ON = ['authorization', 'idempotency-key', 'last-event-id', 'x-consistency-token', 'x-forwarded-for'];

// What the gateway says of a service that cannot be reached, or not in time.
const UNAVAILABLE = ['GATEWAY_TIMEOUT', 'TIMEOUT_ERROR', 'SUBREQUEST_HTTP_ERROR', 'RESPONSE_VALIDATION_FAILED'];

// A service that does not answer costs its part of the data, and no more milliseconds than this. One that changes something
// says within three seconds of its commit if PostgreSQL did not tell what became of it: better than that the gateway guesses.
const patience = (operation) => (operation === 'mutation' ? 5_000 : 1_500);

// What a service refuses as a whole has its status through the gateway, too.
const STATUSES = { UNAUTHENTICATED: 401, RATE_LIMITED: 429 };

// Where nothing comes of a request for now, the status says so, too.
const FOR_NOW = ['BUSY', 'UNAVAILABLE'];

const comeBackIn = (seconds) => ({ 'retry-after': String(seconds) });

// Where a service is, if not where the supergraph says.
const at = (location) => (location ? { location } : {});

// How many mutations were sent to services, by the client's request that they are part of.
const sent = new WeakMap();

const UNKNOWN =
  'it may have happened or not; look before you try again, or send an Idempotency-Key, which makes that safe';

// How it is told that there was nobody to take the request.
const NOBODY = /^(connect|getaddrinfo) /;

export const gatewayConfig = {
  supergraph: 'supergraph.graphql',
  propagateHeaders: {
    fromClientToSubgraphs: ({ request }) => {
      const given = PASSED_ON.map((name) => [name, request.headers.get(name)]);
      const agent = request.headers.get('user-agent') ?? '';
      return { 'user-agent': agent, ...Object.fromEntries(given.filter(([, value]) => value !== null)) };
    },
  },
  // Nothing is tried again: a service that is down is not helped by more requests, and the client knows whether it wants
  // what it asked for.
  upstreamTimeout: ({ executionRequest: { operationType } = {} }) =>
    operationType === 'subscription' ? undefined : patience(operationType),
  // Subscriptions are server-sent events; GET is for queries alone.
  transportEntries: {
    accounts: at(process.env.ACCOUNTS_URL),
    catalog: at(process.env.CATALOG_URL),
    '*.http': { options: { subscriptions: { options: { method: 'POST' } } } },
  },
  // The services say what clients may be told.
  maskedErrors: false,
  graphiql: false,
  landingPage: false,
  plugins: () => [
    {
      // Each mutation of a request is sent by itself: it gets a key of its own out of the request's, the same each time.
      onFetch({ context, executionRequest, options, setOptions }) {
        if (executionRequest?.operationType !== 'mutation') return;
        const number = sent.get(context.request) ?? 0;
        sent.set(context.request, number + 1);
        const key = context.request.headers.get('idempotency-key');
        if (!key || number === 0) return;
        const own = `${key.replaceAll('"', '')}.${number}`;
        setOptions({ ...options, headers: { ...options.headers, 'idempotency-key': own } });
      },
      onSubgraphExecute: () => ({ result }) => {
        for (const error of result.errors ?? []) {
          const { code, rateLimit } = error.extensions ?? {};
          if (result.data || !STATUSES[code]) continue;
          const headers = rateLimit ? comeBackIn(rateLimit.retryAfterSeconds) : {};
          error.extensions.http = { status: STATUSES[code], headers };
        }
      },
      onResultProcess({ request, result }) {
        const errors = result.errors ?? [];
        for (const error of errors) {
          if (!UNAVAILABLE.includes(error.extensions?.code)) continue;
          // A mutation that a service may have got may have been done.
          const isUnknown = sent.has(request) && error.path?.length === 1 && !NOBODY.test(error.message);
          // Where a service is, and what it was asked, which may hold a password, has no business in an error.
          error.extensions = { code: isUnknown ? 'OUTCOME_UNKNOWN' : 'UNAVAILABLE' };
          error.message = isUnknown ? UNKNOWN : 'a part of the API does not answer; try again';
        }
        if (Object.values(result.data ?? {}).some((part) => part !== null)) {
          for (const error of errors) delete error.extensions?.http;
        } else if (errors.length > 0 && errors.every(({ extensions }) => FOR_NOW.includes(extensions?.code))) {
          errors[0].extensions.http = { status: 503, headers: comeBackIn(1) };
        }
      },
    },
  ],
};
