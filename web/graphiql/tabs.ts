/** The tabs a first visit opens with. GraphiQL names each after its operation. */
export const defaultTabs = [
  {
    query: `# Browse the catalogue, ten products at a time.
# Next page: products(first: 10, after: "END_CURSOR")
query Browse {
  products(first: 10) {
    nodes {
      id
      name
      sku
      price { amount currency }
      stock { available state }
      category { name }
    }
    pageInfo { hasNextPage endCursor }
    totalCount
  }
}
`,
  },
  {
    query: `# Search, filter and sort: lamps in stock,
# cheapest first.
query SearchAndFilter {
  products(
    search: "lamp"
    filter: { inStock: true }
    sortBy: [{ field: PRICE, direction: ASC }]
  ) {
    nodes {
      id
      name
      price { amount currency }
      stock { available state }
    }
    totalCount
  }
}
`,
  },
  {
    query: `# Sign in as staff, with the password that the server
# printed when it started. This page then signs every
# request, and renews the token. The panel "Account" on
# the left does the same.
mutation SignIn {
  login(
    input: {
      email: "staff@stockroom.test"
      password: "PASTE_PASSWORD"
    }
  ) {
    user { id email role }
    tokens {
      accessToken
      accessTokenExpiresAt
      refreshToken
      refreshTokenExpiresAt
    }
    errors {
      ... on UserError { code message path }
    }
  }
}
`,
  },
  {
    query: `# Create a product, as a member of the staff. Mistakes
# in the input come back as data, in "errors".
mutation CreateProduct($input: ProductInput!) {
  createProduct(input: $input) {
    product { id name slug version }
    errors {
      ... on UserError { code message path }
    }
  }
}
`,
    variables: `{
  "input": {
    "sku": "LAMP-0001",
    "name": "Desk lamp",
    "price": { "amount": "19.90", "currency": "EUR" },
    "status": "ACTIVE",
    "stock": 12
  }
}`,
  },
  {
    query: `# Watch the catalogue over a WebSocket: change a price
# or the stock elsewhere, and it appears here.
subscription Watch {
  productEvents {
    cursor
    type
    product {
      name
      price { amount currency }
      stock { available }
    }
  }
}
`,
  },
];
