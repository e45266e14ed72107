//! Access tokens: of all that look like one, only those pass that the server issued, as it issued them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
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
        let tokens = &server.core.infra.tokens;
        let ring = tokens.keys.ring();
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

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_stale_or_foreign_token_passes_and_none_has_anything_fetched() {
    let server = TestServer::start_with(&[]).await;
    let anonymous = server.anonymous();
    let forger = Forger::of(&server);
    let (header, claims) = (&forger.header, &forger.claims);
    let (header_text, claims_text) = (header.to_string(), claims.to_string());
    let genuine = forger.sign(&header_text, &claims_text);
    let [_, _, signature] = genuine.split('.').collect::<Vec<_>>().try_into().unwrap();

    let jwks = anonymous.http.get(anonymous.url.replace("/graphql", "/.well-known/jwks.json"));
    let jwks: Value = jwks.send().await.unwrap().json().await.unwrap();
    let key = &jwks["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"], &key["kid"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig"), &header["kid"])
    );
    assert_eq!(key.get("d"), None);
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();

    let now = Utc::now().timestamp();
    let kept = |_: &[u8]| URL_SAFE_NO_PAD.decode(signature).unwrap();
    let hmac_with = |algorithm: hmac::Algorithm, secret: &[u8], name: &str| {
        let key = hmac::Key::new(algorithm, secret);
        Forger::sign_with(&changed(header, "alg", json!(name)), &claims_text, |message| {
            hmac::sign(&key, message).as_ref().to_vec()
        })
    };
    // What libraries that take public keys for secrets might have been given.
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &public].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki));
    let other_pair = Ed25519KeyPair::generate().unwrap();
    let other_key =
        |header: &str| Forger::sign_with(header, &claims_text, |message| other_pair.sign(message).as_ref().to_vec());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    use aws_lc_rs::signature::KeyPair;
    let other_public = URL_SAFE_NO_PAD.encode(other_pair.public_key().as_ref());
    let other_jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": header["kid"], "x": other_public });

    let mut forged: Vec<(String, String)> = vec![
        ("nothing".into(), ".".into()),
        ("no token".into(), "x".into()),
        ("two parts".into(), genuine.rsplit_once('.').unwrap().0.into()),
        ("four parts".into(), format!("{genuine}.x")),
        ("no signature".into(), format!("{}.", genuine.rsplit_once('.').unwrap().0)),
        ("padded".into(), format!("{genuine}==")),
        ("half a signature".into(), genuine[..genuine.len() - 43].into()),
        ("9 KB of signature".into(), format!("{genuine}{}", "A".repeat(9_000))),
        ("9 KB, signed".into(), forger.claiming("padding", json!("a".repeat(9_000)))),
        (
            "another's signature".into(),
            Forger::sign_with(&header_text, &changed(claims, "sub", json!(Uuid::now_v7())), kept),
        ),
        ("a longer life".into(), Forger::sign_with(&header_text, &changed(claims, "exp", json!(now + 9_999)), kept)),
        ("another key".into(), other_key(&header_text)),
        ("another key with itself".into(), other_key(&changed(header, "jwk", other_jwk.clone()))),
        ("another key with its place".into(), other_key(&changed(header, "jku", json!(place)))),
        ("HS256 by the public key".into(), hmac_with(hmac::HMAC_SHA256, &public, "HS256")),
        ("HS256 by its base64".into(), hmac_with(hmac::HMAC_SHA256, key["x"].as_str().unwrap().as_bytes(), "HS256")),
        ("HS256 by its DER".into(), hmac_with(hmac::HMAC_SHA256, &spki, "HS256")),
        ("HS256 by its PEM".into(), hmac_with(hmac::HMAC_SHA256, pem.as_bytes(), "HS256")),
        ("HS512 by its PEM".into(), hmac_with(hmac::HMAC_SHA512, pem.as_bytes(), "HS512")),
        ("HS256 by the kid".into(), hmac_with(hmac::HMAC_SHA256, header["kid"].as_str().unwrap().as_bytes(), "HS256")),
        ("HS256 by nothing".into(), hmac_with(hmac::HMAC_SHA256, b"", "HS256")),
        ("EdDSA named, HMAC made".into(), hmac_with(hmac::HMAC_SHA256, &public, "EdDSA")),
        ("claims that are a list".into(), forger.sign(&header_text, "[]")),
        ("claims that are null".into(), forger.sign(&header_text, "null")),
        ("claims that are no JSON".into(), forger.sign(&header_text, "x")),
        ("claims and more".into(), forger.sign(&header_text, &format!("{claims_text}{claims_text}"))),
        ("a header that is a list".into(), forger.sign("[]", &claims_text)),
        ("a header and more".into(), forger.sign(&format!("{header_text}x"), &claims_text)),
        ("two algs".into(), forger.sign(&Forger::twice(header, "alg", &json!("none")), &claims_text)),
        ("two kids".into(), forger.sign(&Forger::twice(header, "kid", &json!("x")), &claims_text)),
        ("two types".into(), forger.sign(&Forger::twice(header, "typ", &json!("JWT")), &claims_text)),
    ];
    for alg in ["none", "None", "NONE"] {
        let none = changed(header, "alg", json!(alg));
        forged.push((format!("alg {alg}"), Forger::sign_with(&none, &claims_text, |_| Vec::new())));
    }
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
                json!(format!("{}\0", header["kid"].as_str().unwrap())),
                json!(0),
                json!([header["kid"]]),
                Value::Null,
            ],
        ),
        ("jku", vec![json!(place)]),
        ("x5u", vec![json!(place)]),
        ("x5c", vec![json!([STANDARD.encode(&spki)])]),
        ("jwk", vec![other_jwk]),
        ("crit", vec![json!(["exp"]), json!([])]),
        ("b64", vec![json!(false)]),
        ("zip", vec![json!("DEF")]),
    ] {
        forged.extend(values.into_iter().map(|value| (format!("{name} {value}"), forger.headed(name, value))));
    }
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
        forged.extend(values.into_iter().map(|value| (format!("{name} {value}"), forger.claiming(name, value))));
        let twice = forger.sign(&header_text, &Forger::twice(claims, name, &claims[name]));
        forged.push((format!("{name} twice"), twice));
    }

    let with_token = |token: &str| Client { token: Some(token.to_owned()), ..anonymous.clone() };
    assert_eq!(with_token(&genuine).post(ME, &json!({})).await.status(), 200, "what is not forged passes");
    let mut answer = None;
    for (what, token) in &forged {
        let response = with_token(token).post(ME, &json!({})).await;
        assert_eq!(response.status(), 401, "{what}: {token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"", "{what}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{what}");
        let told = body["errors"][0]["message"].clone();
        assert_eq!(*answer.get_or_insert_with(|| told.clone()), told, "{what}: all are told the same");
    }
    assert!(forged.len() > 100, "{}", forged.len());
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
