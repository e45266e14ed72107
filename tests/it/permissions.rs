//! Who may see and do what, field by field: what this table says, what the schema says, and what the server does.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::Value as Constant;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{BaseType, FieldDefinition, Type, TypeKind, TypeSystemDefinition};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stockroom::domain::accounts::{Role, Scope};
use stockroom::graphql;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::sockets::Socket;
use crate::support::{Client, TestServer, eventually, gateway};

/// Who may use a field of an object that they see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    All,
    /// Sessions of at least this role, and API keys of it with the scope.
    Of(Role, Option<Scope>),
    /// The same, and sessions of whoever the object belongs to.
    Owner(Role, Scope),
}

use Who::{All, Of, Owner};

/// Every field that there is. A new one belongs here, with whoever may use it.
#[rustfmt::skip]
const TABLE: &[(&str, Who, &str)] = &[
    ("ApiKey", All, "createdAt expiresAt id lastUsedAt name prefix scopes"),
    ("ApiKeyPayload", All, "apiKey errors secret"),
    ("Attribute", All, "key value"),
    ("AuditConnection", All, "edges nodes pageInfo"),
    ("AuditEdge", All, "cursor node"),
    ("AuditEntry", All, "actor actorId after at before changed kind subject subjectId"),
    ("AuthPayload", All, "errors tokens user"),
    ("AuthTokens", All, "accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt"),
    ("Category", All, "children createdAt id name parent path position products slug updatedAt"),
    ("CategoryPayload", All, "category consistencyToken errors"),
    ("Count", All, "precision value"),
    ("CredentialsError", All, "code message path retryAfterSeconds"),
    ("DeleteCategoryPayload", All, "consistencyToken deletedId errors"),
    ("DeleteProductPayload", All, "consistencyToken deletedId errors"),
    ("MailPayload", All, "accepted errors"),
    ("Media", All, "alt height url width"),
    ("Money", All, "amount currency fractionDigits"),
    ("Mutation", All, "login refreshTokens register requestPasswordReset resetPassword verifyEmail"),
    ("Mutation", Of(Role::Admin, Some(Scope::AccountsWrite)), "setUserRole"),
    ("Mutation", Of(Role::Customer, None),
        "changePassword createApiKey logout requestEmailVerification revokeApiKey revokeSession"),
    ("Mutation", Of(Role::Staff, Some(Scope::CatalogWrite)),
        "adjustStock createCategory createProduct deleteCategory deleteProduct updateCategory updateProduct"),
    ("NotFoundError", All, "code message path"),
    ("PageInfo", All, "endCursor hasNextPage hasPreviousPage startCursor"),
    ("Product", All, "attributes category compareAtPrice createdAt description externalReference id media name price \
        rating sku slug status stock tags updatedAt version"),
    ("Product", Of(Role::Staff, Some(Scope::CatalogRead)), "createdBy"),
    ("ProductConnection", All, "count edges nodes pageInfo totalCount"),
    ("ProductEdge", All, "cursor node score"),
    ("ProductEvent", All, "at changedFields cursor product productId type"),
    ("ProductPayload", All, "consistencyToken errors product"),
    ("Query", All, "categories category me node nodes product products service"),
    ("Query", Of(Role::Admin, Some(Scope::AccountsRead)), "auditLog users"),
    ("RateLimit", All, "available capacity restorePerSecond"),
    ("RequestLimits", All, "aliases bodyBytes cost depth directives directivesInPlace documentBytes errors fields \
        fragments mutations nesting operations responseValues rootFields tokens variablesDepth variablesNodes"),
    ("RevokePayload", All, "errors revoked"),
    ("ServiceInfo", All, "defaultPageSize limits maxOffset maxPageSize rateLimit schemaHash version"),
    ("Session", All, "address createdAt current expiresAt id lastUsedAt userAgent"),
    ("Stock", All, "available state"),
    ("Subscription", All, "productEvents"),
    ("TakenError", All, "code message path"),
    ("User", All, "createdAt email emailVerified id name role"),
    ("User", Owner(Role::Admin, Scope::AccountsRead), "apiKeys sessions"),
    ("UserConnection", All, "edges nodes pageInfo totalCount"),
    ("UserEdge", All, "cursor node"),
    ("UserPayload", All, "errors user"),
    ("ValidationError", All, "code message path"),
    ("VerifyEmailPayload", All, "errors user"),
    ("VersionConflictError", All, "code current message path"),
];

/// The fields that lead to what is not for everybody. A new one belongs here, and below a test of it.
#[rustfmt::skip]
const WAYS: &[(&str, &str)] = &[
    ("User", "AuditEntry.actor AuthPayload.user Product.createdBy Query.me UserConnection.nodes UserEdge.node \
        UserPayload.user VerifyEmailPayload.user"),
    ("Session", "User.sessions"),
    ("ApiKey", "ApiKeyPayload.apiKey User.apiKeys"),
    ("AuditEntry", "AuditConnection.nodes AuditEdge.node"),
    ("AuditConnection", "Query.auditLog"),
    ("UserConnection", "Query.users"),
    ("AuthTokens", "AuthPayload.tokens"),
    ("AuthPayload", "Mutation.changePassword Mutation.login Mutation.refreshTokens Mutation.register \
        Mutation.resetPassword"),
    ("UserPayload", "Mutation.setUserRole"),
    ("VerifyEmailPayload", "Mutation.verifyEmail"),
    ("ApiKeyPayload", "Mutation.createApiKey"),
    ("Node", "Query.node Query.nodes"),
    ("Product", "Category.products Product ProductConnection.nodes ProductEdge.node ProductEvent.product \
        ProductPayload.product Query.product VersionConflictError.current"),
];

/// The schema, as its own file tells it.
struct Types(BTreeMap<String, TypeKind>);

impl Types {
    fn read() -> Self {
        let definitions = parse_schema(graphql::sdl()).unwrap().definitions.into_iter();
        let types = definitions.filter_map(|definition| match definition {
            TypeSystemDefinition::Type(ty) => Some((ty.node.name.node.to_string(), ty.node.kind)),
            _ => None,
        });
        Self(types.collect())
    }

    fn fields(&self, of: &str) -> Vec<&FieldDefinition> {
        match self.0.get(of) {
            Some(TypeKind::Object(object)) => object.fields.iter().map(|field| &field.node).collect(),
            Some(TypeKind::Interface(interface)) => interface.fields.iter().map(|field| &field.node).collect(),
            _ => Vec::new(),
        }
    }

    fn objects(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, kind)| matches!(kind, TypeKind::Object(_))).map(|(name, _)| name.as_str())
    }

    /// All fields of a type and of those below it, so deep. Notes the types whose fields are selected.
    fn selection(&self, of: &str, depth: usize, seen: &mut BTreeSet<String>) -> String {
        if let Some(TypeKind::Union(union)) = self.0.get(of) {
            let members = union.members.iter().map(|member| member.node.as_str());
            let members =
                members.map(|member| format!("... on {member} {{ {} }}", self.selection(member, depth, seen)));
            return format!("__typename {}", members.collect::<Vec<_>>().join(" "));
        }
        seen.insert(of.to_owned());
        let fields = self.fields(of).into_iter().map(|field| {
            let (name, ty) = (field.name.node.as_str(), innermost(&field.ty.node));
            match self.0.get(ty) {
                Some(TypeKind::Object(_) | TypeKind::Union(_) | TypeKind::Interface(_)) if depth == 0 => {
                    format!("{name} {{ __typename }}")
                }
                Some(TypeKind::Object(_) | TypeKind::Union(_) | TypeKind::Interface(_)) => {
                    format!("{name} {{ {} }}", self.selection(ty, depth - 1, seen))
                }
                _ => name.to_owned(),
            }
        });
        fields.collect::<Vec<_>>().join(" ")
    }
}

fn innermost(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => innermost(item),
    }
}

/// What the table says of a field.
fn who(of: &str, field: &str) -> Option<Who> {
    let mut entries = TABLE.iter().filter(|(ty, _, fields)| *ty == of && fields.split_whitespace().any(|f| f == field));
    let (entry, more) = (entries.next(), entries.next());
    assert!(more.is_none(), "{of}.{field} has two entries");
    entry.map(|(_, who, _)| *who)
}

#[test]
fn every_field_has_an_entry_that_says_what_the_schema_says() {
    let types = Types::read();
    let mut fields = 0;
    for of in types.objects() {
        for field in types.fields(of) {
            fields += 1;
            let name = field.name.node.as_str();
            let auth = field.directives.iter().map(|directive| &directive.node).find(|it| it.name.node == "auth");
            let named = |argument: &str| match auth?.get_argument(argument).map(|value| value.node.clone()) {
                Some(Constant::Enum(name)) => Some(name.to_string()),
                Some(Constant::Boolean(owner)) => Some(owner.to_string()),
                _ => None,
            };
            let role = named("role").map(|role| Role::parse(&role).unwrap());
            let scope = named("scope").map(|scope| Scope::parse(&scope).unwrap());
            let said = match (role, scope, named("owner").is_some_and(|owner| owner == "true")) {
                (None, ..) => All,
                (Some(role), Some(scope), true) => Owner(role, scope),
                (Some(role), scope, _) => Of(role, scope),
            };
            assert_eq!(who(of, name), Some(said), "{of}.{name}");
        }
    }
    let entries = TABLE.iter().map(|(_, _, fields)| fields.split_whitespace().count()).sum::<usize>();
    assert_eq!(entries, fields, "there are entries for fields that there are not");
}

#[test]
fn every_way_to_what_is_not_for_everybody_is_known() {
    let types = Types::read();
    for (to, known) in WAYS {
        let mut ways = BTreeSet::new();
        for of in types.objects() {
            for field in types.fields(of) {
                if innermost(&field.ty.node) == *to {
                    ways.insert(format!("{of}.{}", field.name.node));
                }
            }
        }
        let mut known: BTreeSet<String> = known.split_whitespace().map(str::to_owned).collect();
        // Connections of products are a way of their own.
        if known.remove("Product") {
            assert!(known.remove("Category.products"));
        }
        assert_eq!(ways, known, "{to}");
    }
    let node = types.0.iter().filter(|(_, kind)| match kind {
        TypeKind::Object(object) => object.implements.iter().any(|of| of.node == "Node"),
        _ => false,
    });
    let node: Vec<&str> = node.map(|(name, _)| name.as_str()).collect();
    assert_eq!(node, ["ApiKey", "Category", "Product", "Session", "User"]);
}

/// Somebody who asks.
#[derive(Clone)]
struct Viewer {
    name: String,
    client: Client,
    role: Option<Role>,
    /// Of an API key.
    scopes: Option<Vec<Scope>>,
    /// Whose account it is.
    user: Option<Value>,
}

impl Viewer {
    fn may(&self, who: Who) -> bool {
        let has = |role, scope: Option<Scope>| {
            self.role.is_some_and(|own| own >= role)
                && self.scopes.as_ref().is_none_or(|scopes| scope.is_some_and(|scope| scopes.contains(&scope)))
        };
        match who {
            All => true,
            Of(role, scope) => has(role, scope),
            Owner(role, scope) => has(role, Some(scope)),
        }
    }

    fn is(&self, user: &Value) -> bool {
        self.user.as_ref() == Some(user)
    }

    /// The code of whoever may not.
    fn denial(&self) -> &'static str {
        if self.role.is_some() { "FORBIDDEN" } else { "UNAUTHENTICATED" }
    }

    /// The answer over HTTP, and over a socket the same, which of two services has but one's part.
    async fn ask(&self, server: &TestServer, query: &str, over_socket: bool) -> Value {
        let body = if over_socket && !gateway::is_everywhere() {
            let mut socket = Socket::open(server.address, self.client.token.as_deref()).await;
            socket.ask("1", query).await;
            let mut message = socket.message().await.unwrap();
            match message["type"].as_str() {
                Some("next") => message["payload"].take(),
                _ => panic!("{}: {message}: {query}", self.name),
            }
        } else {
            self.client.send(query, json!({})).await
        };
        assert!(body.get("data").is_some(), "{}: {body}: {query}", self.name);
        body
    }
}

const SCOPES: [Scope; 4] = [Scope::CatalogRead, Scope::CatalogWrite, Scope::AccountsRead, Scope::AccountsWrite];

/// Nobody, a session of each role, and of each role an API key with each scope.
async fn viewers(server: &TestServer) -> Vec<Viewer> {
    let name = "nobody".to_owned();
    let mut all = vec![Viewer { name, client: server.anonymous(), role: None, scopes: None, user: None }];
    for role in [Role::Customer, Role::Staff, Role::Admin] {
        let client = server.signed_in(role).await;
        let user = client.data("{ me { id } }", json!({})).await["me"]["id"].take();
        let session = Viewer {
            name: role.as_str().to_owned(),
            client: client.clone(),
            role: Some(role),
            scopes: None,
            user: Some(user),
        };
        for scopes in SCOPES.map(|scope| vec![scope]).into_iter().chain([SCOPES.to_vec()]) {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let create = "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { secret } }";
            let input = json!({ "name": "k", "scopes": names, "expiresAt": "2999-01-01T00:00:00Z" });
            let secret = client.data(create, json!({ "input": input })).await["createApiKey"]["secret"].take();
            let key = client.with_token(secret.as_str().unwrap());
            key.data("{ me { id } }", json!({})).await;
            let name = format!("a key of {} for {}", role.as_str(), names.join(", "));
            all.push(Viewer { name, client: key, scopes: Some(scopes), ..session.clone() });
        }
        all.push(session);
    }
    let used = "SELECT count(*) FROM api_keys WHERE last_used_at IS NULL";
    let database = server.database.connect().await;
    eventually("the use of keys is noted", async || database.query_one(used, &[]).await.unwrap().get::<_, i64>(0) == 0)
        .await;
    all
}

/// What there is to be seen.
struct World {
    /// A customer's account, with a session and an API key.
    ada: Value,
    ada_session: Value,
    ada_key: Value,
    draft: Value,
    active: Value,
    category: Value,
}

async fn world(server: &TestServer, viewers: &[Viewer]) -> World {
    let viewer = |name: &str| viewers.iter().find(|viewer| viewer.name == name).unwrap();
    let (customer, staff) = (viewer("CUSTOMER"), viewer("STAFF"));
    let database = server.database.connect().await;
    database.execute("UPDATE sessions SET user_agent = 'A program'", &[]).await.unwrap();
    let mine = "{ me { id sessions { id } apiKeys { id } } }";
    let mine = customer.client.data(mine, json!({})).await["me"].take();
    let create = "mutation($input: CategoryInput!) { createCategory(input: $input) { category { id } } }";
    let mut category = Value::Null;
    for name in ["Rooms", "Kitchens", "Cupboards"] {
        let input = json!({ "input": { "name": name, "parentId": category } });
        category = staff.client.data(create, input).await["createCategory"]["category"]["id"].take();
    }
    let kitchens = "{ category(slug: \"kitchens\") { id } }";
    let category = staff.client.data(kitchens, json!({})).await["category"]["id"].take();
    let product = |sku: &str, status: &str| {
        json!({
            "sku": sku, "status": status, "categoryId": category, "description": "d", "rating": 4.5, "tags": ["t"],
            "externalReference": sku, "compareAtPrice": { "amount": "20.00", "currency": "EUR" },
            "attributes": [{ "key": "k", "value": 1 }],
            "media": [{ "url": "https://example.com/a.jpg", "alt": "a", "width": 1, "height": 1 }],
        })
    };
    let draft = staff.client.create_product(product("DRAFT", "DRAFT")).await["id"].take();
    let active = staff.client.create_product(product("ACTIVE", "ACTIVE")).await["id"].take();
    World {
        ada: mine["id"].clone(),
        ada_session: mine["sessions"][0]["id"].clone(),
        ada_key: mine["apiKeys"][0]["id"].clone(),
        draft,
        active,
        category,
    }
}

/// A way to an object: the document with `%` for what is selected of it, where it is then, its type, and who gets there.
struct Way {
    document: String,
    place: &'static str,
    of: &'static str,
    reaches: Box<dyn Fn(&Viewer) -> bool + Send + Sync>,
    /// Those who do not are told so; else they find nothing.
    tells: bool,
    /// Whose object it is.
    owner: Option<Value>,
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
fn ways(world: &World, staff: &Value) -> Vec<Way> {
    const ADMIN: Who = Of(Role::Admin, Some(Scope::AccountsRead));
    const STAFF: Who = Of(Role::Staff, Some(Scope::CatalogRead));
    let mut ways = Vec::new();
    let mut way = |document: String,
                   place: &'static str,
                   of: &'static str,
                   owner: Option<&Value>,
                   tells: bool,
                   reaches: Box<dyn Fn(&Viewer) -> bool + Send + Sync>| {
        ways.push(Way { document, place, of, reaches, tells, owner: owner.cloned() });
    };
    let everybody = || -> Box<dyn Fn(&Viewer) -> bool + Send + Sync> { Box::new(|_| true) };
    let those = |who: Who| -> Box<dyn Fn(&Viewer) -> bool + Send + Sync> { Box::new(move |viewer| viewer.may(who)) };
    // As a root, in a list, in a fragment, in one with a name, and behind the interface.
    let mut nodes = |id: &Value,
                     of: &'static str,
                     owner: Option<&Value>,
                     reaches: &dyn Fn() -> Box<dyn Fn(&Viewer) -> bool + Send + Sync>| {
        for (document, place) in [
            (format!("{{ it: node(id: {id}) {{ ... on {of} {{ % }} }} }}"), "/it"),
            (format!("{{ it: nodes(ids: [{id}]) {{ ... on {of} {{ % }} }} }}"), "/it/0"),
            (format!("{{ it: node(id: {id}) {{ ... on Node {{ ... on {of} {{ % }} }} }} }}"), "/it"),
            (format!("{{ it: node(id: {id}) {{ ...f }} }} fragment f on {of} {{ % }}"), "/it"),
            (
                format!(
                    "{{ ...q }} fragment q on Query {{ it: nodes(ids: [{id}]) {{ id ...f }} }} fragment f on {of} {{ % }}"
                ),
                "/it/0",
            ),
        ] {
            way(document, place, of, owner, false, reaches());
        }
    };

    let ada = world.ada.clone();
    let is_ada = || -> Box<dyn Fn(&Viewer) -> bool + Send + Sync> {
        let ada = ada.clone();
        Box::new(move |viewer| viewer.is(&ada) || viewer.may(ADMIN))
    };
    let is_adas_session = || -> Box<dyn Fn(&Viewer) -> bool + Send + Sync> {
        let ada = ada.clone();
        Box::new(move |viewer| (viewer.is(&ada) && viewer.scopes.is_none()) || viewer.may(ADMIN))
    };
    nodes(&world.ada, "User", Some(&ada), &is_ada);
    nodes(&world.ada_session, "Session", None, &is_adas_session);
    nodes(&world.ada_key, "ApiKey", None, &is_adas_session);
    nodes(&world.draft, "Product", None, &|| those(STAFF));
    nodes(&world.active, "Product", None, &everybody);
    nodes(&world.category, "Category", None, &everybody);

    let id = &world.ada;
    way(
        "{ users(last: 1) { nodes { id } } it: users { nodes { % } } }".to_owned(),
        "/it/nodes/0",
        "User",
        None,
        true,
        those(ADMIN),
    );
    way("{ it: users { edges { node { % } } } }".to_owned(), "/it/edges/0/node", "User", None, true, those(ADMIN));
    way("{ it: users { % } }".to_owned(), "/it", "UserConnection", None, true, those(ADMIN));
    way("{ it: users { edges { % } } }".to_owned(), "/it/edges/0", "UserEdge", None, true, those(ADMIN));
    way("{ it: auditLog { % } }".to_owned(), "/it", "AuditConnection", None, true, those(ADMIN));
    way("{ it: auditLog { edges { % } } }".to_owned(), "/it/edges/0", "AuditEdge", None, true, those(ADMIN));
    let updated = "{ it: auditLog(filter: { subject: PRODUCT }) { nodes { % } } }";
    way(updated.to_owned(), "/it/nodes/0", "AuditEntry", None, true, those(ADMIN));
    way(
        "{ it: auditLog(filter: { subject: PRODUCT }) { nodes { actor { % } } } }".to_owned(),
        "/it/nodes/0/actor",
        "User",
        Some(staff),
        true,
        those(ADMIN),
    );
    let has_account = || -> Box<dyn Fn(&Viewer) -> bool + Send + Sync> { Box::new(|viewer| viewer.role.is_some()) };
    way("{ it: me { id email name role createdAt emailVerified } }".to_owned(), "/it", "", None, false, has_account());
    way(
        format!("{{ it: node(id: {id}) {{ ... on User {{ sessions {{ % }} }} }} }}"),
        "/it/sessions/0",
        "Session",
        None,
        false,
        is_adas_session(),
    );
    way(
        format!("{{ it: node(id: {id}) {{ ... on User {{ apiKeys {{ % }} }} }} }}"),
        "/it/apiKeys/0",
        "ApiKey",
        None,
        false,
        is_adas_session(),
    );
    way(
        "{ it: product(by: { sku: \"ACTIVE\" }) { createdBy { % } } }".to_owned(),
        "/it/createdBy",
        "User",
        Some(staff),
        false,
        those(STAFF),
    );

    for (document, place) in [
        ("{ it: product(by: { sku: \"DRAFT\" }) { % } }", "/it"),
        ("{ it: product(by: { slug: \"draft\" }) { % } }", "/it"),
        ("{ it: product(by: { externalReference: \"DRAFT\" }) { % } }", "/it"),
        ("{ it: products(filter: { sku: { eq: \"DRAFT\" } }) { nodes { % } } }", "/it/nodes/0"),
        ("{ it: products(filter: { status: { eq: DRAFT } }) { edges { node { % } } } }", "/it/edges/0/node"),
        ("{ it: products(search: \"DRAFT\") { nodes { % } } }", "/it/nodes/0"),
        (
            "{ it: category(slug: \"kitchens\") { products(filter: { status: { eq: DRAFT } }) { nodes { % } } } }",
            "/it/products/nodes/0",
        ),
    ] {
        if !document.contains("slug: \"draft\"") {
            way(document.to_owned(), place, "Product", None, false, those(STAFF));
        }
        let active = document.replace("DRAFT", "ACTIVE").replace("slug: \"draft\"", "sku: \"ACTIVE\"");
        way(active, place, "Product", None, false, everybody());
    }
    for (document, place, of) in [
        ("{ it: products(first: 1) { % } }", "/it", "ProductConnection"),
        ("{ it: products(search: \"ACTIVE\") { edges { % } } }", "/it/edges/0", "ProductEdge"),
        ("{ it: products(first: 1) { count { % } } }", "/it/count", "Count"),
        ("{ it: products(first: 1) { pageInfo { % } } }", "/it/pageInfo", "PageInfo"),
        ("{ it: product(by: { sku: \"ACTIVE\" }) { price { % } } }", "/it/price", "Money"),
        ("{ it: product(by: { sku: \"ACTIVE\" }) { stock { % } } }", "/it/stock", "Stock"),
        ("{ it: product(by: { sku: \"ACTIVE\" }) { media { % } } }", "/it/media/0", "Media"),
        ("{ it: product(by: { sku: \"ACTIVE\" }) { attributes { % } } }", "/it/attributes/0", "Attribute"),
        ("{ it: product(by: { sku: \"ACTIVE\" }) { category { % } } }", "/it/category", "Category"),
        ("{ it: category(slug: \"rooms\") { children { % } } }", "/it/children/0", "Category"),
        ("{ it: service { % } }", "/it", "ServiceInfo"),
        ("{ it: service { limits { % } } }", "/it/limits", "RequestLimits"),
        ("{ it: service { rateLimit { % } } }", "/it/rateLimit", "RateLimit"),
    ] {
        way(document.to_owned(), place, of, None, false, everybody());
    }
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_by_whatever_way_sees_what_the_table_says() {
    let flags = ["--database-wait", "20s", "--request-timeout", "60s", "--rate-limit", "2000000000/1s"];
    let server = TestServer::start_with(&flags).await;
    let viewers = viewers(&server).await;
    let world = world(&server, &viewers).await;
    let staff = viewers.iter().find(|viewer| viewer.name == "STAFF").unwrap().user.clone().unwrap();
    let types = Types::read();
    let ways = ways(&world, &staff);
    let mut seen = BTreeSet::new();
    let mut looked_at = 0;
    for viewer in &viewers {
        for (number, way) in ways.iter().enumerate() {
            let selection = types.selection(way.of, 0, &mut seen);
            let document = way.document.replace('%', &selection);
            let body = viewer.ask(&server, &document, (number + viewer.name.len()) % 4 == 0).await;
            let context = || format!("{}: {document}\n{body:#}", viewer.name);
            let it = body["data"].pointer(way.place).cloned().unwrap_or_default();
            if !(way.reaches)(viewer) {
                assert_eq!(it, Value::Null, "{}", context());
                let code = body["errors"][0]["extensions"]["code"].as_str();
                assert_eq!(code, way.tells.then(|| viewer.denial()), "{}", context());
                continue;
            }
            assert!(it.is_object() && body.get("errors").is_none(), "{}", context());
            for field in types.fields(way.of) {
                let name = field.name.node.as_str();
                let who = who(way.of, name).expect("an entry");
                let owns = way.owner.as_ref().is_some_and(|owner| viewer.is(owner)) && viewer.scopes.is_none();
                let may = viewer.may(who) || (owns && matches!(who, Owner(..)));
                // What has no value in this place says nothing.
                let is_there = !it[name].is_null();
                let may_be_missing = matches!(
                    (way.of, name),
                    ("AuditEntry", "before") | ("ProductEdge", "score") | ("User", "apiKeys" | "sessions")
                ) && way.owner.is_none();
                if may_be_missing {
                    assert!(may || !is_there, "{name} {}", context());
                } else {
                    assert_eq!(is_there, may, "{name} {}", context());
                }
                looked_at += 1;
            }
        }
    }
    println!("{looked_at} fields looked at");
    // And all that is left out here belongs to mutations and subscriptions, whose answers are tested below.
    let left: Vec<&str> = types.objects().filter(|of| !seen.contains(*of)).collect();
    let others = [
        "ApiKeyPayload",
        "AuthPayload",
        "AuthTokens",
        "CategoryPayload",
        "CredentialsError",
        "DeleteCategoryPayload",
        "DeleteProductPayload",
        "MailPayload",
        "Mutation",
        "NotFoundError",
        "ProductEvent",
        "ProductPayload",
        "Query",
        "RevokePayload",
        "Subscription",
        "TakenError",
        "UserPayload",
        "ValidationError",
        "VerifyEmailPayload",
        "VersionConflictError",
    ];
    assert_eq!(left, others);
}

/// Calls of every field of the query and every mutation, none of which changes anything.
fn calls(world: &World) -> Vec<(&'static str, &'static str, String)> {
    let id = |kind: &str| format!("\"{}\"", URL_SAFE_NO_PAD.encode(format!("{kind}:{}", Uuid::from_u128(7))));
    let category = id("Category");
    let mut calls = vec![
        ("Query", "auditLog", String::new()),
        ("Query", "categories", String::new()),
        ("Query", "category", "(slug: \"rooms\")".to_owned()),
        ("Query", "me", String::new()),
        ("Query", "node", format!("(id: {})", world.active)),
        ("Query", "nodes", format!("(ids: [{}])", world.active)),
        ("Query", "product", "(by: { sku: \"ACTIVE\" })".to_owned()),
        ("Query", "products", String::new()),
        ("Query", "service", String::new()),
        ("Query", "users", String::new()),
    ];
    calls.extend([
        ("Mutation", "adjustStock", "(by: { sku: \"none\" }, delta: 1)".to_owned()),
        ("Mutation", "changePassword", "(currentPassword: \"wrong\", newPassword: \"x7Gk2pQ9kk\")".to_owned()),
        ("Mutation", "createApiKey", "(input: { name: \"\", scopes: [] })".to_owned()),
        ("Mutation", "createCategory", "(input: { name: \"\" })".to_owned()),
        (
            "Mutation",
            "createProduct",
            "(input: { sku: \"\", name: \"\", price: { amount: \"1\", currency: \"EUR\" } })".to_owned(),
        ),
        ("Mutation", "deleteCategory", format!("(id: {category})")),
        ("Mutation", "deleteProduct", "(by: { sku: \"none\" })".to_owned()),
        ("Mutation", "login", "(input: { email: \"nobody@example.com\", password: \"wrong horse\" })".to_owned()),
        ("Mutation", "refreshTokens", "(refreshToken: \"rt_\")".to_owned()),
        ("Mutation", "register", "(input: { email: \"nobody\", password: \"\" })".to_owned()),
        ("Mutation", "requestEmailVerification", String::new()),
        ("Mutation", "requestPasswordReset", "(email: \"nobody@example.com\")".to_owned()),
        ("Mutation", "resetPassword", "(token: \"\", newPassword: \"x7Gk2pQ9kk\")".to_owned()),
        ("Mutation", "revokeApiKey", format!("(id: {})", id("ApiKey"))),
        ("Mutation", "revokeSession", format!("(id: {})", id("Session"))),
        ("Mutation", "setUserRole", format!("(id: {}, role: ADMIN)", id("User"))),
        ("Mutation", "updateCategory", format!("(id: {category}, patch: {{}})")),
        ("Mutation", "updateProduct", "(by: { sku: \"ACTIVE\" }, patch: {}, ifVersion: 99)".to_owned()),
        ("Mutation", "verifyEmail", "(token: \"\")".to_owned()),
        // The last: it ends the session.
        ("Mutation", "logout", String::new()),
    ]);
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_and_mutation_is_for_those_whom_the_table_names_over_http_and_sockets() {
    let server = TestServer::start_with(&["--database-wait", "20s", "--request-timeout", "60s"]).await;
    let viewers = viewers(&server).await;
    let world = world(&server, &viewers).await;
    let types = Types::read();
    let calls = calls(&world);
    for root in ["Query", "Mutation"] {
        let called: BTreeSet<&str> = calls.iter().filter(|(of, ..)| *of == root).map(|(_, name, _)| *name).collect();
        let fields: BTreeSet<&str> = types.fields(root).iter().map(|field| field.name.node.as_str()).collect();
        assert_eq!(called, fields);
    }
    let version = server.core.gate.version().await.unwrap();
    for viewer in &viewers {
        for over_socket in [false, true] {
            for (of, name, arguments) in &calls {
                if *name == "logout" && !over_socket {
                    continue;
                }
                let field = types.fields(of).into_iter().find(|field| field.name.node == *name).unwrap();
                let selection = types.selection(innermost(&field.ty.node), 1, &mut BTreeSet::new());
                let selection = if *of == "Query" { "__typename" } else { &selection };
                let document = format!("{} {{ {name}{arguments} {{ {selection} }} }}", of.to_lowercase());
                let body = viewer.ask(&server, &document, over_socket).await;
                let context = || format!("{}: {document}\n{body:#}", viewer.name);
                let may = viewer.may(who(of, name).expect("an entry"));
                let code = body["errors"][0]["extensions"]["code"].as_str();
                assert_eq!(code, (!may).then(|| viewer.denial()), "{}", context());
                let is_there = !body["data"][name].is_null();
                assert_eq!(is_there, may && (*name != "me" || viewer.role.is_some()), "{}", context());
                if *of == "Mutation"
                    && may
                    && !["logout", "requestPasswordReset", "requestEmailVerification"].contains(name)
                {
                    assert!(body["data"][name]["errors"][0]["code"].is_string(), "{}", context());
                }
                if !may || *of == "Mutation" && !["logout", "requestEmailVerification"].contains(name) {
                    assert_eq!(
                        server.core.gate.version().await.unwrap() - version,
                        logouts(viewer, &viewers),
                        "{}",
                        context()
                    );
                }
            }
        }
    }
}

/// How many of the viewers before this one had a session to end.
fn logouts(viewer: &Viewer, viewers: &[Viewer]) -> i64 {
    let before = viewers.iter().take_while(|other| other.name != viewer.name);
    i64::try_from(before.filter(|other| other.role.is_some() && other.scopes.is_none()).count()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_drafts_are_for_the_staff_and_who_made_a_product_too() {
    let server = TestServer::start_with(&[]).await;
    let viewers = viewers(&server).await;
    let staff = viewers.iter().find(|viewer| viewer.name == "STAFF").unwrap();
    let watch = "subscription { productEvents { cursor at type productId changedFields product { sku status createdBy { email } } } }";
    let mut watching = Vec::new();
    for viewer in &viewers {
        let request = viewer.client.http.post(&viewer.client.url).header("accept", "text/event-stream");
        let request = match &viewer.client.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        watching.push((viewer, request.json(&json!({ "query": watch })).send().await.unwrap()));
    }
    for status in ["DRAFT", "ARCHIVED", "ACTIVE"] {
        staff.client.create_product(json!({ "sku": status, "status": status })).await;
    }
    for (viewer, mut stream) in watching {
        let mut text = String::new();
        while !text.contains("\"ACTIVE\"") {
            text += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap());
        }
        let may = viewer.may(Of(Role::Staff, Some(Scope::CatalogRead)));
        for hidden in ["DRAFT", "ARCHIVED"] {
            assert_eq!(text.contains(hidden), may, "{}: {text}", viewer.name);
        }
        assert_eq!(text.contains("@stockroom.test"), may, "{}: {text}", viewer.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_shown_to_the_staff_alone_where_it_is_not_shown_to_all() {
    let server = TestServer::start_with(&["--introspection", "false"]).await;
    for viewer in viewers(&server).await {
        let refused = viewer.client.refusal(&json!({ "query": "{ __type(name: \"User\") { name } }" })).await;
        let may = viewer.may(Of(Role::Staff, Some(Scope::CatalogRead)));
        let expected = if may { (200, "") } else { (400, "INTROSPECTION_DISABLED") };
        assert_eq!((refused.0, refused.1.as_str()), expected, "{}", viewer.name);
        let nearly = viewer.client.refusal_text(&json!({ "query": "{ product(by: { sku: \"a\" }) { skuu } }" })).await;
        assert_eq!(nearly.contains("Did you mean"), may, "{}: {nearly}", viewer.name);
    }
}

const SET_ROLE: &str = "mutation($id: ID!, $role: Role!) { setUserRole(id: $id, role: $role) {
    user { role } errors { ... on UserError { code path } } } }";

async fn id_of(client: &Client) -> Value {
    client.data("{ me { id } }", json!({})).await["me"]["id"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_who_demote_each_other_at_once_one_stays() {
    let server = TestServer::start_with(&["--database-wait", "20s"]).await;
    let instance = server.another(&["--database-wait", "20s"]).await;
    let admins = |database: tokio_postgres::Client| async move {
        let count = "SELECT count(*) FROM users WHERE role = 'ADMIN'";
        database.query_one(count, &[]).await.unwrap().get::<_, i64>(0)
    };
    for round in 0..5 {
        let (one, two) = (server.signed_in(Role::Admin).await, server.signed_in(Role::Admin).await);
        let database = server.database.connect().await;
        let ids = (id_of(&one).await, id_of(&two).await);
        // Nobody else is one.
        let others = "UPDATE users SET role = 'CUSTOMER' WHERE id NOT IN (SELECT user_id FROM sessions ORDER BY id DESC LIMIT 2)";
        database.execute(others, &[]).await.unwrap();
        let barrier = std::sync::Arc::new(Barrier::new(2));
        let mut demoting = JoinSet::new();
        let two = instance.anonymous().with_token(two.token.as_deref().unwrap());
        for (client, id) in [(one, ids.1), (two, ids.0)] {
            let barrier = std::sync::Arc::clone(&barrier);
            demoting.spawn(async move {
                barrier.wait().await;
                client.send(SET_ROLE, json!({ "id": id, "role": "CUSTOMER" })).await
            });
        }
        let done = demoting.join_all().await;
        let demoted = done.iter().filter(|body| body["data"]["setUserRole"]["user"]["role"] == "CUSTOMER").count();
        assert_eq!((demoted, admins(database).await), (1, 1), "round {round}: {done:#?}");
    }
}

/// A mutation that waits for the account's row while something is done to it: what it answers.
async fn meanwhile(server: &TestServer, client: &Client, document: &str, user: &str, done: &str) -> Value {
    let mut database = server.database.connect().await;
    let statement = format!("UPDATE users SET {done} WHERE id = '{user}'");
    let other = database.transaction().await.unwrap();
    other.execute(&statement, &[]).await.unwrap();
    let (client, document) = (client.clone(), document.to_owned());
    let asked = tokio::spawn(async move { client.send(&document, json!({})).await });
    let watcher = server.database.connect().await;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("it waits", async || watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0).await;
    other.commit().await.unwrap();
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_in_before_a_right_was_lost_does_not_use_it_afterwards() {
    let server = TestServer::start_with(&["--statement-timeout", "60s"]).await;
    let (admin, staff) = (server.signed_in(Role::Admin).await, server.signed_in(Role::Staff).await);
    server.signed_in(Role::Admin).await;
    let uuid = |id: &Value| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id.as_str().unwrap()).unwrap()).unwrap();
        text.strip_prefix("User:").unwrap().to_owned()
    };
    let (admin_id, staff_id) = (id_of(&admin).await, id_of(&staff).await);
    // The password is changed, say: with the sessions of before nobody gets a key.
    let create = "mutation { createApiKey(input: { name: \"k\", scopes: [CATALOG_READ] }) { secret } }";
    let answer = meanwhile(&server, &staff, create, &uuid(&staff_id), "token_version = token_version + 1").await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{answer}");
    // The administrator is none any more: nobody gets a role from them.
    let promote = format!("mutation {{ setUserRole(id: {staff_id}, role: ADMIN) {{ user {{ role }} }} }}");
    let demoted = "role = 'CUSTOMER', token_version = token_version + 1";
    let answer = meanwhile(&server, &admin, &promote, &uuid(&admin_id), demoted).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer}");
    let database = server.database.connect().await;
    let left = "SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM users WHERE role = 'ADMIN')";
    assert_eq!(database.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_is_taken_from_sessions_and_keys_at_once() {
    let server = TestServer::start_with(&[]).await;
    let instance = server.another(&[]).await;
    let (admin, staff) = (server.signed_in(Role::Admin).await, server.signed_in(Role::Staff).await);
    let key = "mutation { createApiKey(input: { name: \"k\", scopes: [CATALOG_READ, CATALOG_WRITE] }) { secret } }";
    let key = staff.data(key, json!({})).await["createApiKey"]["secret"].take();
    let key = key.as_str().unwrap().to_owned();
    staff.create_product(json!({ "sku": "DRAFT", "status": "DRAFT" })).await;
    let mut socket = Socket::open(instance.address, Some(&key)).await;
    let id = id_of(&staff).await;
    let demoted = admin.data(SET_ROLE, json!({ "id": id, "role": "CUSTOMER" })).await;
    assert_eq!(demoted["setUserRole"]["user"]["role"], "CUSTOMER");
    let create = json!({ "query": "mutation { createCategory(input: { name: \"A\" }) { category { id } } }" });
    // The socket knows the key's owner as one of the staff, for at most a second.
    socket.ask("1", create["query"].as_str().unwrap()).await;
    match socket.message().await {
        Ok(message) => {
            let code = message["payload"]["errors"][0]["extensions"]["code"].as_str();
            assert_eq!(code, Some("UNAUTHENTICATED"), "{message}");
        }
        Err(code) => assert_eq!(code, 4403),
    }
    for server in [&server, &instance] {
        let token = server.anonymous().with_token(staff.token.as_deref().unwrap());
        assert_eq!(token.refusal(&create).await.1, "UNAUTHENTICATED");
        let key = server.anonymous().with_token(&key);
        assert_eq!(key.refusal(&create).await, (200, "FORBIDDEN".to_owned()));
        let draft = key.data("{ product(by: { sku: \"DRAFT\" }) { sku } }", json!({})).await;
        assert_eq!(draft["product"], Value::Null);
    }
    let categories = server.database.connect().await.query("SELECT 1 FROM categories", &[]).await.unwrap();
    assert_eq!(categories.len(), 0);
}
