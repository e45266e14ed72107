import { codegen } from './kit/codegen';

export default codegen('*.graphql', 'gql/');
