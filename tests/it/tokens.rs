//! Access tokens: of all that look like one, only those pass that the server issued, as it issued them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stockroom::infra::tokens::Subject;
use uuid::Uuid;

use crate::support::{Client, TestServer};

const ME: &str = "{ me { email role } }";

/// Who has got hold of the server's key and signs whatever it likes.
struct Forger {
    pair: Ed25519KeyPair,
    /// Of a token that passes.
    header: Value,
    claims: Value,
}

impl Forger {
    fn of(server: &TestServer) -> Self {
        let (tokens, ring) = (&server.core.infra.tokens, server.keys.ring());
        let pem = &ring.signing(Utc::now()).key.pem;
        let base64: String = pem.expose_secret().lines().filter(|line| !line.starts_with('-')).collect();
        let subject = Subject { id: Uuid::now_v7(), session: Uuid::now_v7(), version: 0, role: "ADMIN".to_owned() };
        let genuine = tokens.issue(&subject, Utc::now()).unwrap().token;
        let part = |number: usize| {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(genuine.split('.').nth(number).unwrap()).unwrap()).unwrap()
        };
        let pair = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
        Self { pair, header: part(0), claims: part(1) }
    }

    fn sign_with(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        Self::sign_with(header, claims, |message| self.pair.sign(message).as_ref().to_vec())
    }

    /// With this in the header, null for nothing.
    fn headed(&self, name: &str, value: Value) -> String {
        self.sign(&changed(&self.header, name, value), &self.claims.to_string())
    }

    /// With this among the claims, null for nothing.
    fn claiming(&self, name: &str, value: Value) -> String {
        self.sign(&self.header.to_string(), &changed(&self.claims, name, value))
    }

    /// With a member twice: first this, then what passes.
    fn twice(value: &Value, name: &str, first: &Value) -> String {
        value.to_string().replacen('{', &format!("{{\"{name}\":{first},"), 1)
    }
}

fn changed(value: &Value, name: &str, changed: Value) -> String {
    let mut value = value.clone();
    match changed {
        Value::Null => value.as_object_mut().unwrap().remove(name),
        changed => value.as_object_mut().unwrap().insert(name.to_owned(), changed),
    };
    value.to_string()
}

/// Named texts that look like tokens.
type Fakes = Vec<(String, String)>;

/// What is no token, or another's.
fn broken(forger: &Forger) -> Fakes {
    let (header, claims) = (forger.header.to_string(), forger.claims.to_string());
    let genuine = forger.sign(&header, &claims);
    let (unsigned, signature) = genuine.rsplit_once('.').unwrap();
    let kept = |_: &[u8]| URL_SAFE_NO_PAD.decode(signature).unwrap();
    let late = Utc::now().timestamp() + 9_999;
    let of_another = changed(&forger.claims, "sub", json!(Uuid::now_v7()));
    let mut fakes: Fakes = [
        ("nothing", ".".to_owned()),
        ("no token", "x".to_owned()),
        ("two parts", unsigned.to_owned()),
        ("four parts", format!("{genuine}.x")),
        ("no signature", format!("{unsigned}.")),
        ("padded", format!("{genuine}==")),
        ("half a signature", genuine[..genuine.len() - 43].to_owned()),
        ("9 KB of signature", format!("{genuine}{}", "A".repeat(9_000))),
        ("9 KB, signed", forger.claiming("padding", json!("a".repeat(9_000)))),
        ("another's signature", Forger::sign_with(&header, &of_another, kept)),
        ("a longer life", Forger::sign_with(&header, &changed(&forger.claims, "exp", json!(late)), kept)),
        ("claims that are a list", forger.sign(&header, "[]")),
        ("claims that are null", forger.sign(&header, "null")),
        ("claims that are no JSON", forger.sign(&header, "x")),
        ("claims and more", forger.sign(&header, &format!("{claims}{claims}"))),
        ("a header that is a list", forger.sign("[]", &claims)),
        ("a header and more", forger.sign(&format!("{header}x"), &claims)),
    ]
    .map(|(what, token)| (what.to_owned(), token))
    .into();
    for alg in ["none", "None", "NONE"] {
        let none = changed(&forger.header, "alg", json!(alg));
        fakes.push((format!("alg {alg}"), Forger::sign_with(&none, &claims, |_| Vec::new())));
    }
    fakes
}

/// Signed by somebody else, or with what everybody knows.
fn foreign(forger: &Forger, place: &str) -> Fakes {
    let claims = forger.claims.to_string();
    let (header, kid) = (&forger.header, forger.header["kid"].as_str().unwrap());
    let other = Ed25519KeyPair::generate().unwrap();
    let by_other = |header: &str| Forger::sign_with(header, &claims, |message| other.sign(message).as_ref().to_vec());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(other.public_key().as_ref()) });
    let mut fakes: Fakes = vec![
        ("another key".to_owned(), by_other(&header.to_string())),
        ("another key with itself".to_owned(), by_other(&changed(header, "jwk", jwk))),
        ("another key with its place".to_owned(), by_other(&changed(header, "jku", json!(place)))),
    ];
    // What libraries that take public keys for secrets might have been given.
    let public = forger.pair.public_key().as_ref();
    let der = spki(public);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    for secret in [public, base64url(public).as_bytes(), &der, pem.as_bytes(), kid.as_bytes(), b""] {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("EdDSA", hmac::HMAC_SHA256),
        ] {
            let (key, header) = (hmac::Key::new(algorithm, secret), changed(header, "alg", json!(alg)));
            let token = Forger::sign_with(&header, &claims, |message| hmac::sign(&key, message).as_ref().to_vec());
            fakes.push((format!("{alg} with {} bytes that everybody knows", secret.len()), token));
        }
    }
    fakes
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An Ed25519 public key in DER.
fn spki(public: &[u8]) -> Vec<u8> {
    [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], public].concat()
}

/// Signed by the key, with a header that is not ours.
fn with_other_headers(forger: &Forger, place: &str) -> Fakes {
    let kid = forger.header["kid"].as_str().unwrap();
    let public = forger.pair.public_key().as_ref();
    let der = spki(public);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(public) });
    let mut fakes = Fakes::new();
    for (name, values) in [
        (
            "alg",
            vec![json!("none"), json!("eddsa"), json!("ES256"), json!("RS256"), json!("HS256"), json!(1), Value::Null],
        ),
        ("typ", vec![json!("JWT"), json!("rt+jwt"), json!("AT+JWT"), json!(["at+jwt"]), json!(""), Value::Null]),
        (
            "kid",
            vec![
                json!(""),
                json!("other"),
                json!("A".repeat(43)),
                json!("../../../../../../dev/null"),
                json!("/dev/null"),
                json!(place),
                json!("' OR 1 = 1 --"),
                json!(format!("{}\0", kid)),
                json!(0),
                json!([kid]),
                Value::Null,
            ],
        ),
        ("jku", vec![json!(place)]),
        ("x5u", vec![json!(place)]),
        ("x5c", vec![json!([STANDARD.encode(&der)])]),
        ("jwk", vec![jwk]),
        ("crit", vec![json!(["exp"]), json!([])]),
        ("b64", vec![json!(false)]),
        ("zip", vec![json!("DEF")]),
    ] {
        fakes.extend(values.into_iter().map(|value| (format!("{name} {value}"), forger.headed(name, value))));
    }
    for (name, first) in [("alg", "none"), ("kid", "x"), ("typ", "JWT")] {
        let twice = Forger::twice(&forger.header, name, &json!(first));
        fakes.push((format!("{name} twice"), forger.sign(&twice, &forger.claims.to_string())));
    }
    fakes
}

/// Signed by the key, with claims that are not ours, or not of now.
fn with_other_claims(forger: &Forger) -> Fakes {
    let now = Utc::now().timestamp();
    let mut fakes = Fakes::new();
    for (name, values) in [
        (
            "iss",
            vec![json!("other"), json!({ "stockroom": 1 }), json!(["stockroom"]), json!(1), json!(""), Value::Null],
        ),
        (
            "aud",
            vec![json!("other"), json!(["stockroom"]), json!(["other"]), json!([]), json!(1), json!({}), Value::Null],
        ),
        ("sub", vec![json!("root"), json!(1), json!(""), Value::Null]),
        ("sid", vec![json!("x"), json!(1), Value::Null]),
        ("ver", vec![json!("0"), json!(0.5), json!(4_294_967_296_i64), Value::Null]),
        ("role", vec![json!("ROOT"), json!("admin"), json!(""), json!(1), json!(["ADMIN"]), Value::Null]),
        ("jti", vec![json!("x"), Value::Null]),
        ("iat", vec![json!(now + 60), json!("now"), json!(1e300), Value::Null]),
        ("nbf", vec![json!(now + 60), json!(now.to_string()), json!([now]), json!(-1), Value::Null]),
        (
            "exp",
            vec![
                json!(now - 6),
                json!(now - 3_600),
                json!((now + 60).to_string()),
                json!([now + 60]),
                json!(-1),
                json!(0),
                json!(1e300),
                json!(u64::MAX),
                json!(true),
                Value::Null,
            ],
        ),
    ] {
        fakes.extend(values.into_iter().map(|value| (format!("{name} {value}"), forger.claiming(name, value))));
        let twice = Forger::twice(&forger.claims, name, &forger.claims[name]);
        fakes.push((format!("{name} twice"), forger.sign(&forger.header.to_string(), &twice)));
    }
    fakes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_stale_or_foreign_token_passes_and_none_has_anything_fetched() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let forger = Forger::of(&server);
    let genuine = forger.sign(&forger.header.to_string(), &forger.claims.to_string());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let mut fakes =
        [broken(&forger), foreign(&forger, &place), with_other_headers(&forger, &place), with_other_claims(&forger)]
            .concat();
    let register = "mutation { register(input: { email: \"ada@example.com\", password: \"correct horse battery\" }) {
        tokens { accessToken refreshToken } } }";
    let tokens = anonymous.data(register, json!({})).await["register"]["tokens"].take();
    fakes.push(("a refresh token".to_owned(), tokens["refreshToken"].as_str().unwrap().to_owned()));

    let with_token = |token: &str| Client { token: Some(token.to_owned()), ..anonymous.clone() };
    assert_eq!(with_token(&genuine).post(ME, &json!({})).await.status(), 200, "what is not forged passes");
    let mut answer = None;
    for (what, token) in &fakes {
        let response = with_token(token).post(ME, &json!({})).await;
        assert_eq!(response.status(), 401, "{what}: {token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"", "{what}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{what}");
        let told = body["errors"][0]["message"].clone();
        assert_eq!(*answer.get_or_insert_with(|| told.clone()), told, "{what}: all are told the same");
    }
    assert!(fakes.len() > 120, "{}", fakes.len());
    for credentials in
        ["", "Basic YTpi", "Bearer", "Bearer ", &format!("Token {genuine}"), &format!("Bearer {genuine} x")]
    {
        let request =
            anonymous.http.post(&anonymous.url).header("authorization", credentials).json(&json!({ "query": ME }));
        assert_eq!(request.send().await.unwrap().status(), 401, "{credentials}");
    }
    assert_eq!(with_token(&genuine).post(ME, &json!({})).await.status(), 200, "and still does");
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none(), "somebody followed a token's address");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_refreshes_nothing() {
    let server = TestServer::start_with(&[]).await;
    let register = "mutation { register(input: { email: \"ada@example.com\", password: \"correct horse battery\" }) {
        tokens { accessToken } } }";
    let tokens = server.anonymous().data(register, json!({})).await["register"]["tokens"].take();
    let refresh = "mutation($token: String!) { refreshTokens(refreshToken: $token) {
        tokens { accessToken } errors { ... on UserError { code } } } }";
    let payload = server.anonymous().data(refresh, json!({ "token": tokens["accessToken"] })).await;
    assert_eq!(payload["refreshTokens"]["tokens"], Value::Null);
    assert!(payload["refreshTokens"]["errors"][0]["code"].is_string(), "{payload}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_tells_how_to_verify_and_not_how_to_sign() {
    let server = TestServer::start_with(&[]).await;
    let forger = Forger::of(&server);
    let jwks = reqwest::get(server.anonymous().url.replace("/graphql", "/.well-known/jwks.json"));
    let jwks: Value = jwks.await.unwrap().json().await.unwrap();
    let public = json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "alg": "EdDSA",
        "kid": forger.header["kid"],
        "x": base64url(forger.pair.public_key().as_ref()),
    });
    assert_eq!(jwks, json!({ "keys": [public] }));
}
