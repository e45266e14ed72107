import { codegen } from './kit/codegen';

export default codegen('shop/operations/*.graphql', 'shop/gql/');
