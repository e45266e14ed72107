// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import { ApolloLink } from '@apollo/client';
import { from, mergeMap, of } from 'rxjs';

import { type Credentials, isUnauthenticated } from './credentials';

/** Sends the access token with every request, and renews it when it is about to end or is refused. */
export function authentication(credentials: Credentials): ApolloLink {
  return new ApolloLink((operation, forward) => {
    const send = (token: string | null) => {
      operation.setContext(({ headers }: { headers?: Record<string, string> }) => ({
        headers: token === null ? headers : { ...headers, authorization: `Bearer ${token}` },
      }));
      return forward(operation);
    };
    // Without a network the request itself will tell.
    const first = credentials.accessToken().catch(() => credentials.current?.accessToken ?? null);
    return from(first).pipe(
      mergeMap((token) =>
        send(token).pipe(
          mergeMap((result) => {
            if (token === null || !('errors' in result) || !isUnauthenticated(result.errors)) {
              return of(result);
            }
            const second = credentials.successorOf(token).catch(() => null);
            return from(second).pipe(mergeMap((successor) => (successor === null ? of(result) : send(successor))));
          }),
        ),
      ),
    );
  });
}
