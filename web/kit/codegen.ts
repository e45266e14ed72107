// From `stockroom client-kit`, which writes it anew: keep what is yours elsewhere.
import { fileURLToPath } from 'node:url';

import type { CodegenConfig } from '@graphql-codegen/cli';
import { type ASTNode, Kind, type SelectionSetNode, visit } from 'graphql';

import { scalars } from './api';

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

/**
 * Types for documents, and `persisted-documents.json` for servers that run no others.
 *
 * @param documents where they are, as in `src/**\/*.graphql`.
 * @param folder where the types go, as in `src/gql/`.
 */
export function codegen(documents: string | string[], folder: string): CodegenConfig {
  return {
    schema: fileURLToPath(new URL('schema.graphql', import.meta.url)),
    documents,
    generates: {
      [folder]: {
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
}

export default codegen('src/**/*.{graphql,ts,tsx}', 'src/gql/');
