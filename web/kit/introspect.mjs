// Writes the schema as the cache reads it: introspection.json, without descriptions and input types.
import { readFileSync, writeFileSync } from 'node:fs';

import { minifyIntrospectionQuery } from '@urql/introspection';
import { buildSchema, introspectionFromSchema } from 'graphql';

const sdl = readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8');
const minified = minifyIntrospectionQuery(introspectionFromSchema(buildSchema(sdl)));
writeFileSync(new URL('introspection.json', import.meta.url), JSON.stringify(minified));
