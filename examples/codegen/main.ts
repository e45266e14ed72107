// Searches the catalogue with types that graphql-codegen makes of products.graphql: `stockroom client-kit kit && npm
// install`, then `npm start http://127.0.0.1:8000/graphql oak chair`.
import { print } from 'graphql';

import { SearchDocument, type SearchQuery, type SearchQueryVariables } from './gql/graphql';

const [url = '', ...words] = process.argv.slice(2);
const variables: SearchQueryVariables = { search: words.join(' '), filter: { inStock: true } };
const response = await fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
  body: JSON.stringify({ query: print(SearchDocument), variables }),
});
const { data } = (await response.json()) as { data: SearchQuery };
for (const { name, price } of data.products?.nodes ?? []) {
  console.log(`${name}: ${price.amount} ${price.currency}`);
}
