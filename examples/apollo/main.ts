// Signs in and reads the catalogue page by page, with Apollo Client: `stockroom client-kit kit && npm install`, then
// `npm start http://127.0.0.1:8000/graphql staff@stockroom.test <password>`.
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache, type TypedDocumentNode } from '@apollo/client';

import { authentication } from './kit/apollo';
import { Credentials, renewal, type Tokens } from './kit/credentials';
import possibleTypes from './kit/possibleTypes.json';
import { typePolicies } from './kit/typePolicies';

const [url = '', email, password] = process.argv.slice(2);
const credentials = new Credentials(renewal(url));
const client = new ApolloClient({
  cache: new InMemoryCache({ possibleTypes, typePolicies }),
  link: ApolloLink.from([authentication(credentials), new HttpLink({ uri: url })]),
});

const LOGIN: TypedDocumentNode<{ login: { tokens: Tokens | null; user: { email: string } | null } | null }> = gql`
  mutation Login($input: LoginInput!) {
    login(input: $input) {
      user { id email }
      tokens { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt }
      errors { ... on UserError { message } }
    }
  }`;
const { data: signedIn } = await client.mutate({ mutation: LOGIN, variables: { input: { email, password } } });
credentials.set(signedIn?.login?.tokens ?? null);
console.log(`Signed in: ${signedIn?.login?.user?.email}`);

interface Page {
  nodes: { name: string }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}
const PRODUCTS: TypedDocumentNode<{ products: Page | null }, { after?: string | null }> = gql`
  query Products($after: String) {
    products(first: 2, after: $after, sortBy: [{ field: NAME }]) {
      nodes { id name }
      pageInfo { hasNextPage endCursor }
    }
  }`;
const { data: first } = await client.query({ query: PRODUCTS, variables: {} });
const list = client.watchQuery({ query: PRODUCTS, variables: {} });
list.subscribe(({ data, dataState }) => {
  if (dataState === 'complete') {
    console.log(data.products?.nodes.map(({ name }) => name).join(', '));
  }
});
// What is loaded is added to the list.
await list.fetchMore({ variables: { after: first?.products?.pageInfo.endCursor } });
