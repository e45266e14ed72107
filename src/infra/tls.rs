//! TLS: whom the process believes, and what to do about whom it does not.

use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::Settings;

/// What a certificate must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// That a trusted authority made it, for this host.
    Host,
    /// That a trusted authority made it.
    Authority,
}

/// TLS that trusts what the machine trusts.
pub fn tls() -> anyhow::Result<ClientConfig> {
    config(machine(), Verify::Host)
}

/// TLS to a store, which may have an authority of its own.
///
/// # Errors
/// When `TLS_CA_FILE` cannot be used.
pub fn to_store(settings: &Settings, verify: Verify) -> anyhow::Result<ClientConfig> {
    let Some(pem) = authorities(settings)? else { return config(machine(), verify) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }
    config(roots, verify)
}

/// The authorities that stores' certificates come from, in PEM, if they are not those that the machine trusts.
///
/// # Errors
/// When `TLS_CA_FILE` cannot be used.
pub fn authorities(settings: &Settings) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = &settings.tls_ca_file else { return Ok(None) };
    let about = || format!("TLS_CA_FILE {}", file.display());
    let pem = std::fs::read(file).with_context(about)?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
    ensure!(certificates.peek().is_some(), "{} has no certificate in PEM", about());
    for certificate in certificates {
        let certificate = certificate.with_context(about)?;
        RootCertStore::empty().add(certificate).with_context(about)?;
    }
    Ok(Some(pem))
}

fn machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn config(roots: RootCertStore, verify: Verify) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(match verify {
        Verify::Host => config.with_root_certificates(roots).with_no_client_auth(),
        Verify::Authority => {
            let verifier = AnyHost::new(roots, provider)?;
            config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    })
}

/// Verifies all but the host's name.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl AnyHost {
    fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> anyhow::Result<Self> {
        Ok(Self(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?))
    }
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name comes last: all else holds.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The same error, and before it what to do, where TLS is the reason. Drivers hand that on as text.
pub fn explained(error: anyhow::Error) -> anyhow::Error {
    let told = format!("{error:#}");
    let untrusted = "the certificate is of an authority that is not trusted here; name that one in TLS_CA_FILE";
    let advice = [
        ("UnknownIssuer", untrusted),
        // An authority of the same name.
        ("BadSignature", untrusted),
        (
            "not valid for name",
            "the certificate is for another host; use a name that it has (sslmode=verify-ca asks for none)",
        ),
        ("certificate expired", "the certificate has expired; renew it, or set the clock"),
        ("InvalidContentType", "what answers there does not speak TLS; turn TLS on there, or use another port"),
        ("server does not support TLS", "the server offers no TLS; turn it on there (`ssl = on`)"),
    ];
    match advice.into_iter().find(|(sign, _)| told.contains(sign)) {
        Some((_, advice)) => error.context(advice),
        None => error,
    }
}
