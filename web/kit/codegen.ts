import type { CodegenConfig } from '@graphql-codegen/cli';
import { type ASTNode, Kind, type SelectionSetNode, visit } from 'graphql';

/** Every scalar of the API, as JSON brings it. */
const scalars = {
  CurrencyCode: 'string',
  DateTime: 'string',
  Decimal: 'string',
  JSON: 'unknown',
  URL: 'string',
};

/** What caches need of every object. A subscription may not have a second field at its root. */
function withTypename<T extends ASTNode>(document: T): T {
  return visit(document, {
    SelectionSet(node: SelectionSetNode, _key, parent) {
      if (parent && 'kind' in parent && parent.kind === Kind.OPERATION_DEFINITION) {
        return undefined;
      }
      const typename = { kind: Kind.FIELD, name: { kind: Kind.NAME, value: '__typename' } } as const;
      return { ...node, selections: [typename, ...node.selections] };
    },
  });
}

const config: CodegenConfig = {
  schema: '../schema.graphql',
  documents: 'shop/operations/*.graphql',
  generates: {
    'shop/gql/': {
      preset: 'client',
      documentTransforms: [
        {
          transform: ({ documents }) =>
            documents.map((file) => ({ ...file, document: file.document && withTypename(file.document) })),
        },
      ],
      presetConfig: {
        fragmentMasking: false,
        persistedDocuments: { hashAlgorithm: 'sha256' },
      },
      config: {
        scalars,
        strictScalars: true,
        defaultScalarType: 'unknown',
        enumsAsTypes: true,
        useTypeImports: true,
      },
    },
  },
};

export default config;
