// What tools ask first: the whole schema by introspection, with every option that they may set. It is the one of
// schema.graphql, and GraphiQL's query is one of these.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { buildClientSchema, buildSchema, getIntrospectionQuery, lexicographicSortSchema, printSchema } from 'graphql';

import { check, finish, parameters } from './check.mjs';

const [url] = parameters('introspection.mjs URL', 1);
const file = readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8');
// The server does not print the descriptions of directives' arguments, which it tells.
const print = (schema) => {
  for (const directive of schema.getDirectives()) directive.args.forEach((argument) => (argument.description = null));
  return printSchema(lexicographicSortSchema(schema));
};

const options = {
  descriptions: true,
  specifiedByUrl: true,
  directiveIsRepeatable: true,
  inputValueDeprecation: true,
  oneOf: true,
};
const variants = [{}, options, { ...options, schemaDescription: false, descriptions: false }];

for (const [n, variant] of variants.entries()) {
  await check(`Introspection ${n + 1} gives the whole schema.`, async () => {
    const query = getIntrospectionQuery(variant);
    const body = JSON.stringify({ query, operationName: 'IntrospectionQuery' });
    const headers = { 'content-type': 'application/json', accept: 'application/graphql-response+json' };
    const response = await fetch(url, { method: 'POST', headers, body });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined, JSON.stringify(errors));
    const schema = buildClientSchema(data);
    if (variant === options) assert.equal(print(schema), print(buildSchema(file)));
    assert.ok(schema.getType('Product').getFields().price);
  });
}
finish(variants.length);
