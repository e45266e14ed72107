//! Users of an outside issuer: their tokens, its keys, and their accounts here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding,
};
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use serde_json::{Value, json};
use stockroom::config::OutsideIssuer;
use stockroom::domain::accounts::Role;
use stockroom::infra::jwks::Issuer;
use stockroom::infra::metrics::Metrics;

use crate::support::{Client, TestServer};

const NAME: &str = "https://issuer.example";
const AUDIENCE: &str = "shop-api";
const ME: &str = "{ me { id email emailVerified name role } }";

/// What it says when it is asked for its keys.
type Answer = fn(&Outside) -> Response;

/// An issuer on a port of its own, and its private keys.
struct Outside {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    /// How often it was asked for its keys, and how often for anything else.
    asked: Arc<[AtomicU64; 2]>,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Outside {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(|outside| outside.keys().to_string().into_response())),
            asked: Arc::default(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        });
        let (jwks, other) = (Arc::clone(&outside), Arc::clone(&outside));
        let answer = async move || {
            jwks.asked[0].fetch_add(1, Ordering::Relaxed);
            let answer = *jwks.answer.lock().unwrap();
            answer(&jwks)
        };
        let elsewhere = async move || {
            other.asked[1].fetch_add(1, Ordering::Relaxed);
            other.keys().to_string()
        };
        let router = Router::new().route("/jwks.json", get(answer)).fallback(elsewhere);
        let (stop, stopped) = tokio::sync::watch::channel(stockroom::transport::Stage::Serving);
        tokio::spawn(async move {
            stockroom::transport::serve(router, None, listener, 1000, stopped, Duration::ZERO).await;
            drop(stop);
        });
        outside
    }

    fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    fn asked(&self) -> [u64; 2] {
        self.asked.each_ref().map(|asked| asked.load(Ordering::Relaxed))
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The modulus. In DER it follows nine bytes of lengths and a sign.
    fn modulus(&self) -> &[u8] {
        &self.rsa.public_key().as_ref()[9..265]
    }

    fn rsa_key(&self) -> Value {
        json!({ "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "e": "AQAB", "n": base64(self.modulus()) })
    }

    fn ec_key(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": base64(&point[1..33]), "y": base64(&point[33..]) })
    }

    fn ed_key(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": base64(self.ed.public_key().as_ref()) })
    }

    /// Beside those that sign, issuers publish others.
    fn keys(&self) -> Value {
        let with = |mut key: Value, kid: &str, name: &str, value: Value| {
            key["kid"] = kid.into();
            key[name] = value;
            key
        };
        json!({ "keys": [
            self.rsa_key(),
            self.ec_key(),
            self.ed_key(),
            with(self.rsa_key(), "encrypts", "use", json!("enc")),
            with(self.rsa_key(), "rs512", "alg", json!("RS512")),
            with(self.rsa_key(), "short", "n", json!(base64(&self.modulus()[..128]))),
            with(self.ec_key(), "wraps", "key_ops", json!(["wrapKey"])),
            { "kty": "oct", "kid": "secret", "k": base64(b"secret") },
            { "kty": "new", "kid": 1 },
            "nonsense",
        ] })
    }

    fn claims(subject: &str) -> Value {
        let now = Utc::now().timestamp();
        json!({ "iss": NAME, "aud": [AUDIENCE, "other"], "sub": subject, "iat": now, "exp": now + 60 })
    }

    fn rsa_signed(&self, by: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(by, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    fn sign_as(&self, kid: &str, header: &Value, claims: &Value) -> String {
        sign(header, claims, |message| match kid {
            "ec" => self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            "ed" => self.ed.sign(message).as_ref().to_vec(),
            _ => self.rsa_signed(&RSA_PKCS1_SHA256, message),
        })
    }

    /// As it issues them.
    fn token(&self, kid: &str, claims: &Value) -> String {
        let alg = match kid {
            "ec" => "ES256",
            "ed" => "EdDSA",
            _ => "RS256",
        };
        self.sign_as(kid, &json!({ "alg": alg, "typ": "JWT", "kid": kid }), claims)
    }
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    format!("{message}.{}", base64(&sign(message.as_bytes())))
}

async fn server_for(outside: &Outside) -> TestServer {
    let url = outside.url();
    let oidc = ["--oidc-issuer", NAME, "--oidc-audience", AUDIENCE, "--oidc-jwks-url", &url];
    TestServer::start_with(&[&["--database-wait", "20s"], &oidc[..]].concat()).await
}

fn with(token: String, server: &TestServer) -> Client {
    Client { token: Some(token), ..server.anonymous() }
}

async fn me(server: &TestServer, token: String) -> Value {
    with(token, server).data(ME, json!({})).await["me"].take()
}

fn changed(value: &Value, name: &str, changed: Value) -> Value {
    let mut value = value.clone();
    value[name] = changed;
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_outside_issuer_count_and_forged_ones_do_not() {
    let outside = Outside::start().await;
    let server = server_for(&outside).await;
    for kid in ["rsa", "ec", "ed"] {
        let user = me(&server, outside.token(kid, &Outside::claims(kid))).await;
        assert_eq!((&user["role"], &user["emailVerified"]), (&json!("CUSTOMER"), &json!(false)), "{kid}");
    }
    let claims = Outside::claims("ada");
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" });
    let now = Utc::now().timestamp();
    let jwk = outside.rsa_key();
    let hs256 = |secret: &[u8], header: &Value| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        sign(header, &claims, |message| hmac::sign(&key, message).as_ref().to_vec())
    };
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let by_other = |header: &Value| {
        sign(header, &claims, |message| {
            let mut signature = vec![0; other.public_modulus_len()];
            other.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        })
    };
    let rsa = |by: &'static dyn RsaEncoding, alg: &str, kid: &str| {
        let header = json!({ "alg": alg, "kid": kid });
        sign(&header, &claims, |message| outside.rsa_signed(by, message))
    };
    let elsewhere = format!("http://{}/evil.json", outside.address);
    let mut forged = vec![
        ("another's signature", by_other(&header)),
        ("its own key", by_other(&changed(&header, "jwk", json!({ "kty": "RSA", "e": "AQAB", "n": "AQAB" })))),
        ("the place of its key", by_other(&changed(&header, "jku", json!(elsewhere)))),
        ("an address for a kid", by_other(&changed(&header, "kid", json!(elsewhere)))),
        ("no signature", sign(&changed(&header, "alg", json!("none")), &claims, |_| Vec::new())),
        ("HS256 by the modulus", hs256(outside.modulus(), &changed(&header, "alg", json!("HS256")))),
        ("HS256 by the key set's text", hs256(jwk.to_string().as_bytes(), &changed(&header, "alg", json!("HS256")))),
        ("a published secret", hs256(b"secret", &json!({ "alg": "HS256", "kid": "secret" }))),
        ("RS512", rsa(&RSA_PKCS1_SHA512, "RS512", "rsa")),
        ("RS512 by a key for it", rsa(&RSA_PKCS1_SHA512, "RS512", "rs512")),
        ("PS256", rsa(&RSA_PSS_SHA256, "PS256", "rsa")),
        ("a key for RS512", rsa(&RSA_PKCS1_SHA256, "RS256", "rs512")),
        ("a key that encrypts", rsa(&RSA_PKCS1_SHA256, "RS256", "encrypts")),
        ("a key that wraps", outside.sign_as("ec", &json!({ "alg": "ES256", "kid": "wraps" }), &claims)),
        ("an unknown key", rsa(&RSA_PKCS1_SHA256, "RS256", "unknown")),
        ("another algorithm's key", outside.sign_as("ec", &json!({ "alg": "ES256", "kid": "rsa" }), &claims)),
        ("another key's kid", outside.sign_as("ec", &json!({ "alg": "RS256", "kid": "ec" }), &claims)),
        ("no kid", outside.sign_as("rsa", &json!({ "alg": "RS256" }), &claims)),
        ("crit", outside.sign_as("rsa", &changed(&header, "crit", json!(["exp"])), &claims)),
        ("9 KB", outside.token("rsa", &changed(&claims, "padding", json!("a".repeat(7_000))))),
    ];
    for typ in ["logout+jwt", "dpop+jwt", "rt+jwt", ""] {
        forged.push(("a type", outside.sign_as("rsa", &changed(&header, "typ", json!(typ)), &claims)));
    }
    for (name, values) in [
        ("iss", vec![json!("https://issuer.example/"), json!([NAME]), json!("stockroom"), json!(null)]),
        ("aud", vec![json!("other"), json!(["other"]), json!([]), json!({ AUDIENCE: 1 }), json!(null)]),
        ("sub", vec![json!(""), json!(1), json!("a".repeat(256)), json!("a\0b"), json!(null)]),
        ("exp", vec![json!(now - 6), json!((now + 60).to_string()), json!(-1), json!(null)]),
        ("nbf", vec![json!(now + 60), json!("now")]),
        ("iat", vec![json!(now + 60), json!("now")]),
    ] {
        forged.extend(values.into_iter().map(|value| (name, outside.token("rsa", &changed(&claims, name, value)))));
    }
    for (what, token) in forged {
        let response = with(token.clone(), &server).post(ME, &json!({})).await;
        assert_eq!(response.status(), 401, "{what}: {token}");
    }
    me(&server, outside.token("rsa", &claims)).await;
    assert_eq!(outside.asked(), [1, 0], "the keys are fetched once, and nothing else ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_users_have_one_account_each_with_the_address_that_is_theirs_and_the_role_that_we_gave() {
    let outside = Outside::start().await;
    let server = server_for(&outside).await;
    let token = |subject: &str, email: &str, verified: Value| {
        let claims = Outside::claims(subject);
        let claims = changed(&changed(&claims, "email", json!(email)), "email_verified", verified);
        outside.token("ec", &changed(&changed(&claims, "name", json!(" Ada ")), "role", json!("ADMIN")))
    };
    // However many requests see them first.
    let ada = token("ada", "Ada@Example.com", json!(true));
    let first = (0..20).map(|_| {
        (
            with(ada.clone(), &server),
            tokio::spawn({
                let client = with(ada.clone(), &server);
                async move { client.data(ME, json!({})).await["me"].take() }
            }),
        )
    });
    let mut seen = Vec::new();
    for (_, request) in first.collect::<Vec<_>>() {
        seen.push(request.await.unwrap());
    }
    assert!(seen.iter().all(|user| *user == seen[0]), "{seen:#?}");
    let ada_is = seen.remove(0);
    let expected = json!({ "id": ada_is["id"], "email": "Ada@Example.com", "emailVerified": true, "name": "Ada", "role": "CUSTOMER" });
    assert_eq!(ada_is, expected);
    let admin = server.signed_in(Role::Admin).await;
    let count = async || admin.data("{ users { totalCount } }", json!({})).await["users"]["totalCount"].clone();
    assert_eq!(count().await, 2);

    // An address that the issuer has not verified, in whatever words, is nobody's.
    for (subject, verified) in [("bob", json!(false)), ("eve", json!("true")), ("joe", json!(1)), ("sue", json!(null))]
    {
        let user = me(&server, token(subject, "ada@example.com", verified)).await;
        assert_ne!(user["id"], ada_is["id"]);
        assert_eq!(user["emailVerified"], false);
        assert!(user["email"].as_str().unwrap().ends_with("@unknown.invalid"), "{user}");
    }
    assert_eq!(count().await, 6);

    // Whoever has shown both of us that an address is theirs has one account; others' are not taken over.
    let by_password = json!({ "input": { "email": "kim@example.com", "password": "correct horse battery" } });
    let register = "mutation($input: RegisterInput!) { register(input: $input) { user { id } } }";
    let kim = server.anonymous().data(register, by_password).await["register"]["user"]["id"].take();
    let outside_kim = token("kim", "KIM@example.com", json!(true));
    assert_eq!(with(outside_kim.clone(), &server).post(ME, &json!({})).await.status(), 401);
    let verified = "UPDATE users SET email_verified_at = now() WHERE email_key = 'kim@example.com'";
    server.database.connect().await.execute(verified, &[]).await.unwrap();
    assert_eq!(me(&server, outside_kim).await["id"], kim);

    // Roles are ours to give, and count at once, for the same token.
    let create = json!({ "query": "mutation { createCategory(input: { name: \"Lamps\" }) { category { name } } }" });
    assert_eq!(with(ada.clone(), &server).refusal(&create).await, (200, "FORBIDDEN".to_owned()));
    let set_role = "mutation($id: ID!) { setUserRole(id: $id, role: STAFF) { user { role } } }";
    let set = admin.data(set_role, json!({ "id": ada_is["id"] })).await;
    assert_eq!(set["setUserRole"]["user"]["role"], "STAFF");
    assert_eq!(me(&server, ada.clone()).await["role"], "STAFF");
    let created = with(ada.clone(), &server).data(create["query"].as_str().unwrap(), json!({})).await;
    assert_eq!(created["createCategory"]["category"]["name"], "Lamps");

    // Nobody signs in with a password to an account that has none, and it takes as long.
    let hashes = || server.core.infra.metrics.password_hashes.get();
    let login = "mutation($password: String!) { login(input: { email: \"ada@example.com\", password: $password }) {
        tokens { accessToken } errors { ... on UserError { code } } } }";
    for password in ["nobody has this password", ""] {
        let before = hashes();
        let payload = server.anonymous().data(login, json!({ "password": password })).await["login"].take();
        assert_eq!(payload["errors"][0]["code"], "INVALID_CREDENTIALS");
        assert_eq!(hashes() - before, 1);
    }
    // Sessions and passwords are the issuer's business.
    let logout = with(ada, &server).send("mutation { logout { revoked } }", json!({})).await;
    assert_eq!(logout["errors"][0]["extensions"]["code"], "FORBIDDEN", "{logout}");
}

fn issuer(outside: &Outside, ask_every: Duration) -> (Arc<Issuer>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let jwks_url = outside.url().parse().unwrap();
    let settings = OutsideIssuer { issuer: NAME.to_owned(), audience: AUDIENCE.to_owned(), jwks_url };
    (Arc::new(Issuer::new(settings, ask_every, Arc::clone(&metrics)).unwrap()), metrics)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_is_asked_seldom_however_many_tokens_name_unknown_keys() {
    let outside = Outside::start().await;
    let server = server_for(&outside).await;
    let genuine = outside.token("ed", &Outside::claims("ada"));
    let flood = (0..20).map(|flooder| {
        let (outside, client) = (Arc::clone(&outside), server.anonymous());
        tokio::spawn(async move {
            for number in 0..100 {
                let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{flooder}-{number}") });
                let token = outside.sign_as("ed", &header, &Outside::claims("ada"));
                let client = Client { token: Some(token), ..client.clone() };
                assert_eq!(client.post(ME, &json!({})).await.status(), 401);
            }
        })
    });
    let flood: Vec<_> = flood.collect();
    let mut honest = 0;
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        me(&server, genuine.clone()).await;
        honest += 1;
    }
    for flooder in flood {
        flooder.await.unwrap();
    }
    assert!(honest > 0);
    assert_eq!(outside.asked(), [1, 0]);
    let told = server.core.infra.metrics.text();
    assert!(told.contains("stockroom_jwks_refreshes_total{outcome=\"ok\"} 1\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_ill_changes_nothing_and_a_rotation_is_noticed() {
    let outside = Outside::start().await;
    let (issuer, metrics) = issuer(&outside, Duration::from_millis(1));
    let genuine = outside.token("rsa", &Outside::claims("ada"));
    let unknown = outside.sign_as("rsa", &json!({ "alg": "RS256", "kid": "next" }), &Outside::claims("ada"));
    assert!(issuer.verify(&genuine).await.is_ok());
    let failures = || metrics.jwks_refreshes.get_or_create(&[("outcome", "failed")]).get();
    let ills: [(&str, Answer); 6] = [
        ("broken", |_| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("elsewhere", |outside| {
            (StatusCode::FOUND, [("location", format!("http://{}/other.json", outside.address))]).into_response()
        }),
        ("no JSON", |_| "<html>".into_response()),
        ("endless", |outside| {
            let keys = outside.keys().to_string();
            (keys + &" ".repeat(300_000)).into_response()
        }),
        ("without keys", |outside| {
            json!({ "keys": [changed(&outside.rsa_key(), "n", json!("AQAB"))] }).to_string().into_response()
        }),
        ("silent", |_| {
            Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>()).into_response()
        }),
    ];
    for (number, (what, ill)) in ills.into_iter().enumerate() {
        outside.answers(ill);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(issuer.verify(&unknown).await.is_err(), "{what}");
        assert_eq!(failures(), number as u64 + 1, "{what}");
        assert!(issuer.verify(&genuine).await.is_ok(), "{what}");
    }
    assert_eq!(outside.asked(), [7, 0]);
    // The key has a new name; tokens of the old one's end with it.
    outside.answers(|outside| {
        json!({ "keys": [changed(&outside.rsa_key(), "kid", json!("next"))] }).to_string().into_response()
    });
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(issuer.verify(&unknown).await.unwrap().subject, "ada");
    assert!(issuer.verify(&genuine).await.is_err());
}
