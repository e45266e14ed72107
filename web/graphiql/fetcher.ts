import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { type DocumentNode, Kind, parse } from 'graphql';
import { createClient } from 'graphql-ws';

import { type Extensions, tell } from './report';
import { adopt, credentials } from './session';

/** Adds the token and the wish for a report, unless the Headers pane says otherwise, and reads the report. */
async function reported(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const headers = new Headers(init?.headers);
  if (!headers.has('authorization')) {
    const token = await credentials.accessToken().catch(() => null);
    if (token !== null) {
      headers.set('authorization', `Bearer ${token}`);
    }
  }
  if (!headers.has('graphql-cost')) {
    headers.set('graphql-cost', 'report');
  }
  const begun = performance.now();
  const response = await fetch(input, { ...init, headers });
  const text = await response.text();
  const millis = performance.now() - begun;
  let shown = text;
  try {
    const { extensions = {}, ...body } = JSON.parse(text) as { data?: unknown; extensions?: Extensions };
    // What the page itself wants to know of the schema is nobody's question.
    if (!String(init?.body).includes('"operationName":"IntrospectionQuery"')) {
      tell({ status: response.status, extensions, millis, bytes: text.length });
    }
    // The report has its own place: the response is shown as other clients get it.
    const { cost: _cost, cache: _cache, timing: _timing, rateLimit: _limit, ...rest } = extensions as Record<string, unknown>;
    shown = JSON.stringify(Object.keys(rest).length > 0 ? { ...body, extensions: rest } : body);
    void adopt(body.data).catch(() => undefined);
  } catch {
    // What is no JSON is shown as it came.
  }
  return new Response(shown, { status: response.status, headers: response.headers });
}

const socket = createClient({
  url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql`,
  lazy: true,
  connectionParams: async () => {
    const token = await credentials.accessToken().catch(() => null);
    return token === null ? {} : { authorization: `Bearer ${token}` };
  },
});

// The API answers every operation with one JSON document. Without incremental delivery the fetcher asks for
// `application/graphql-response+json` first.
const plain = createGraphiQLFetcher({
  url: '/graphql',
  enableIncrementalDelivery: false,
  fetch: reported,
  wsClient: socket,
});

function read(query: string): DocumentNode | undefined {
  try {
    return parse(query);
  } catch {
    // The server says what is wrong with it.
    return undefined;
  }
}

/** The editor knows the operations of a tab only a moment after it was chosen, so one that it names may be another tab's. */
export const fetcher: Fetcher = (params, options) => {
  const documentAST = read(params.query);
  if (!documentAST) return plain(params, options);
  const operations = documentAST.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  const [first, ...others] = operations as { name?: { value: string } }[];
  const operationName = others.length === 0 ? first?.name?.value : params.operationName;
  return plain({ ...params, operationName }, { ...options, documentAST });
};
