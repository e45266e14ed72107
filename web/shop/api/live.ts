import { useEffect, useRef } from 'react';
import { useClient } from 'urql';
import { pipe, subscribe } from 'wonka';

import { LiveDocument, type LiveSubscription, type ProductFilter } from '../gql/graphql';

type Event = NonNullable<LiveSubscription['productEvents']>;

/** Lets what happens to these products into the cache as it happens, and tells of it. */
export function useLive(filter: ProductFilter | undefined, happened?: (event: Event) => void): void {
  const client = useClient();
  const tell = useRef(happened);
  tell.current = happened;
  const key = JSON.stringify(filter ?? null);
  useEffect(() => {
    const variables = { filter: (JSON.parse(key) as ProductFilter | null) ?? undefined };
    const { unsubscribe } = pipe(
      client.subscription(LiveDocument, variables),
      subscribe(({ data }) => {
        if (data?.productEvents) {
          tell.current?.(data.productEvents);
        }
      }),
    );
    return unsubscribe;
  }, [client, key]);
}
