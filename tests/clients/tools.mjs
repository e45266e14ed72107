// Tests the client kit with the tools that read a schema or make types of it. KIT is the folder of the kit, in one of
// its own.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { configs, parser, rules as all } from '@graphql-eslint/eslint-plugin';
import { validate } from '@graphql-inspector/core';
import { ESLint } from 'eslint';
import { Kind, Source, buildSchema, parse, print, visit } from 'graphql';

import { check, finish, parameters } from './check.mjs';

const SECONDS = 60;
const [kit] = parameters('tools.mjs KIT', 1, 3 * SECONDS);
const here = dirname(fileURLToPath(import.meta.url));
const folder = dirname(kit);
const operations = `${here}/../../web/shop/operations`;
const documents = readdirSync(operations).map(
  (name) => new Source(readFileSync(`${operations}/${name}`, 'utf8'), name),
);
const sdl = readFileSync(`${kit}/schema.graphql`, 'utf8');

/** What a tool says, and whether it is content. */
async function run(tool, ...given) {
  try {
    const { stdout, stderr } = await promisify(execFile)(`${here}/node_modules/.bin/${tool}`, given, { cwd: folder });
    return { content: true, said: stdout + stderr };
  } catch (error) {
    return { content: false, said: error.stdout + error.stderr };
  }
}

async function passes(tool, ...given) {
  const { content, said } = await run(tool, ...given);
  assert.ok(content, `${tool}: ${said}`);
}

/** Whether the tool notices, and says why. */
async function fails(why, tool, ...given) {
  const { content, said } = await run(tool, ...given);
  assert.ok(!content, `${tool} finds nothing wrong`);
  assert.match(said, why);
}

/** Writes a file for a while. */
async function having(name, text, body) {
  writeFileSync(`${folder}/${name}`, text);
  try {
    await body();
  } finally {
    rmSync(`${folder}/${name}`);
  }
}

const compilerOptions = {
  target: 'ES2022',
  module: 'ESNext',
  moduleResolution: 'bundler',
  lib: ['ES2022', 'DOM', 'DOM.Iterable'],
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  isolatedModules: true,
  verbatimModuleSyntax: true,
  resolveJsonModule: true,
  skipLibCheck: true,
  noEmit: true,
  plugins: [{ name: 'gql.tada/ts-plugin', schema: './kit/schema.graphql', tadaOutputLocation: './kit/graph-env.d.ts' }],
};
writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ compilerOptions, include: ['kit', 'src'] }));
cpSync(operations, `${folder}/src/operations`, { recursive: true });

/** The shop's documents as a program for gql.tada, each after the fragments that it spreads. */
function asProgram() {
  const definitions = new Map(
    documents.flatMap(({ body }) => parse(body).definitions.map((one) => [one.name.value, one])),
  );
  const texts = new Map();
  const write = (name) => {
    if (texts.has(name)) return;
    const definition = definitions.get(name);
    const spread = new Set();
    visit(definition, { FragmentSpread: (node) => void spread.add(node.name.value) });
    for (const fragment of spread) write(fragment);
    const text = print(definition).replace(/^fragment \w+ on \w+/, '$& @_unmask');
    texts.set(name, `export const ${name} = graphql(\`${text}\`, [${[...spread].join(', ')}]);\n`);
  };
  for (const name of definitions.keys()) write(name);
  return `import { graphql } from '../kit/tada';\n${[...texts.values()].join('')}`;
}

await check(
  "graphql-codegen makes types of the shop's documents, and of none that is wrong.",
  async () => {
    await having('src/wrong.graphql', 'query Wrong { products { nodes { colour } } }', () =>
      fails(/Cannot query field .{0,2}colour/, 'graphql-codegen', '--config', 'kit/codegen.ts'),
    );
    await passes('graphql-codegen', '--config', 'kit/codegen.ts');
  },
  SECONDS,
);

await check(
  "gql.tada checks the shop's documents, and finds what is wrong in another.",
  async () => {
    await passes('gql.tada', 'generate-output', '--tsconfig', 'kit/tsconfig.tada.json');
    writeFileSync(`${folder}/src/tada.ts`, asProgram());
    const wrong =
      "import { graphql } from '../kit/tada';\nexport const Wrong = graphql(`{ products { nodes { colour } } }`);\n";
    await having('src/wrong.ts', wrong, async () => {
      const { content, said } = await run('gql.tada', 'check');
      assert.ok(!content, 'gql.tada finds nothing wrong');
      assert.match(said, /wrong\.ts[^]*Cannot query field .colour.[^]*\b1 error/);
    });
  },
  SECONDS,
);

await check(
  'The kit and what uses these types compile, and what uses them wrongly does not.',
  async () => {
    const used = `
    export const variables: StorefrontQueryVariables = { first: 20, counted: true, sortBy: [{ field: 'PRICE' }] };
    export const amount = ({ products }: StorefrontQuery): string | undefined => products?.nodes[0]?.price.amount;
    export const wrongField: StorefrontQueryVariables = { first: 20, counted: true, sortBy: [{ field: 'COLOUR' }] };
    export const wrongScalar = ({ products }: StorefrontQuery): number | undefined => products?.nodes[0]?.price.amount;`;
    writeFileSync(
      `${folder}/src/codegen.ts`,
      `import type { StorefrontQuery, StorefrontQueryVariables } from './gql/graphql';${used}`,
    );
    writeFileSync(
      `${folder}/src/tadas.ts`,
      `
    import type { ResultOf, VariablesOf } from '../kit/tada';
    import { Storefront } from './tada';
    type StorefrontQuery = ResultOf<typeof Storefront>;
    type StorefrontQueryVariables = VariablesOf<typeof Storefront>;${used}`,
    );
    const { said } = await run('tsc');
    const errors = said.match(/^\S+\(\d+/gm);
    assert.deepEqual(errors, ['src/codegen.ts(4', 'src/codegen.ts(5', 'src/tadas.ts(8', 'src/tadas.ts(9'], said);
  },
  SECONDS,
);

await check(
  'The Relay compiler takes the schema and a fragment of pages, and no page without an end.',
  async () => {
    const config = { src: './relay', schema: './kit/schema.graphql', language: 'typescript', eagerEsModules: true };
    writeFileSync(`${folder}/relay.config.json`, JSON.stringify(config));
    mkdirSync(`${folder}/relay`);
    const shelf = (name, connection) => `
    import { graphql } from 'react-relay';
    graphql\`
      fragment ${name}_query on Query @refetchable(queryName: "${name}PageQuery")
        @argumentDefinitions(first: { type: "Int", defaultValue: 20 }, after: { type: "String" }, search: { type: "String" }) {
        products(first: $first, after: $after, search: $search) ${connection} {
          edges { node { id name stock { available } } }
        }
      }\`;`;
    await having('relay/Wrong.ts', shelf('Wrong', '@connection(key: "Wrong_nodes")'), () =>
      fails(/Wrong_nodes/, 'relay-compiler', 'relay.config.json'),
    );
    await having('relay/Shelf.ts', shelf('Shelf', '@connection(key: "Shelf_products")'), () =>
      passes('relay-compiler', 'relay.config.json'),
    );
    const page = readFileSync(`${folder}/relay/__generated__/ShelfPageQuery.graphql.ts`, 'utf8');
    assert.match(page, /hasNextPage/);
  },
  SECONDS,
);

await check("graphql-inspector finds nothing wrong with the shop's documents, and finds what is.", async () => {
  const schema = buildSchema(sdl);
  assert.deepEqual(validate(schema, documents), []);
  const wrong = new Source('{ products { nodes { colour } } }', 'wrong');
  assert.equal(validate(schema, [wrong])[0].errors[0].message, 'Cannot query field "colour" on type "Product".');
});

/** What is recommended, what Relay wants, and descriptions: those of arguments are not all in the file. */
const rules = {
  ...configs['flat/schema-recommended'].rules,
  ...configs['flat/schema-relay'].rules,
  '@graphql-eslint/require-nullable-result-in-root': 'error',
  '@graphql-eslint/require-description': [
    'error',
    { types: true, DirectiveDefinition: true, EnumValueDefinition: true, FieldDefinition: true, rootField: true },
  ],
  // `nodes` is a shortcut, lists beside pages are short, and nobody asks for an entry of the audit log alone.
  '@graphql-eslint/relay-edge-types': [
    'error',
    { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
  ],
  // What has no id is part of what it belongs to.
  '@graphql-eslint/strict-id-in-types': 'off',
};

/** What the linter says of a schema, each with its rule. */
async function lint(text) {
  const eslint = new ESLint({
    cwd: folder,
    overrideConfigFile: true,
    overrideConfig: {
      files: ['**/*.graphql'],
      languageOptions: { parser, parserOptions: { graphQLConfig: { schema: text } } },
      plugins: { '@graphql-eslint': { rules: all } },
      rules,
    },
  });
  const [{ messages }] = await eslint.lintText(text, { filePath: `${folder}/kit/schema.graphql` });
  return messages.map(({ ruleId, message }) => `${ruleId}: ${message}`);
}

await check(
  'graphql-eslint finds nothing wrong with the schema, and finds what would be.',
  async () => {
    assert.deepEqual(await lint(sdl), []);
    const wrong = sdl
      .replace('hasNextPage: Boolean!', 'hasNextPage: Boolean')
      .replace('  slug: String!', '  Slug: String!')
      .replace(/"""\n {2}What it is called\.\n {2}"""/, '');
    const found = (await lint(wrong)).map((one) => one.match(/^@graphql-eslint\/[\w-]+/)[0]);
    const expected = ['naming-convention', 'relay-page-info', 'require-description'].map(
      (rule) => `@graphql-eslint/${rule}`,
    );
    assert.deepEqual(found.sort(), expected);
  },
  SECONDS,
);

finish(6);
