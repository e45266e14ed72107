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
    query: `# Create an account. Mistakes in the input come
# back as data, in "errors".
mutation Register {
  register(
    input: {
      email: "ada@example.com"
      password: "correct horse battery staple"
      name: "Ada"
    }
  ) {
    user { id email role }
    tokens { accessToken }
    errors {
      ... on UserError { code message path }
    }
  }
}
`,
  },
  {
    query: `# Sign in as staff, then copy the accessToken for
# the tab CreateProduct.
mutation SignIn {
  login(
    input: {
      email: "staff@stockroom.test"
      password: "PASTE_PASSWORD" # printed when the server starts
    }
  ) {
    user { id email role }
    tokens { accessToken }
    errors {
      ... on UserError { code message path }
    }
  }
}
`,
  },
  {
    query: `# Create a product. Staff only: sign in first, then
# paste the accessToken into the Headers pane below:
#   {"Authorization": "Bearer PASTE_ACCESS_TOKEN"}
# Headers are not stored: enter them again after a
# reload.
mutation CreateProduct {
  createProduct(
    input: {
      sku: "LAMP-0001"
      name: "Desk lamp"
      price: { amount: "19.90", currency: "EUR" }
      status: ACTIVE
      stock: 12
    }
  ) {
    product { id name }
    errors {
      ... on UserError { code message path }
    }
  }
}
`,
    headers: '{"Authorization": "Bearer PASTE_ACCESS_TOKEN"}',
  },
];
