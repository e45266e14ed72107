//! Refresh tokens: a session, a number and a MAC. The number is raised with every use, so one that comes back shows a copy.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::ids::SessionId;

/// How the text begins, so that people and scanners recognise it.
const PREFIX: &str = "rt_";
/// Session, number and MAC.
const BYTES: usize = 16 + 4 + 32;

/// A refresh token as somebody showed it.
#[derive(Clone, Copy, Debug)]
pub struct RefreshToken {
    pub session: SessionId,
    pub counter: i32,
    mac: [u8; 32],
}

impl RefreshToken {
    /// The text of a session's token with this number.
    pub fn text(session: SessionId, counter: i32, secret: &[u8]) -> String {
        let body = body(session, counter);
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &body);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([&body, mac.as_ref()].concat()))
    }

    /// The token in this text, which may be forged.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix(PREFIX).filter(|text| text.len() < 2 * BYTES)?;
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (session, rest) = bytes.split_first_chunk::<16>()?;
        let (counter, mac) = rest.split_first_chunk::<4>()?;
        let session = SessionId(Uuid::from_bytes(*session));
        Some(Self { session, counter: i32::from_be_bytes(*counter), mac: mac.try_into().ok()? })
    }

    /// Whether the session with this secret gave it.
    pub fn is_genuine(&self, secret: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, &body(self.session, self.counter), &self.mac).is_ok()
    }
}

fn body(session: SessionId, counter: i32) -> Vec<u8> {
    [session.0.as_bytes().as_slice(), &counter.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::RefreshToken;
    use crate::domain::ids::SessionId;

    #[test]
    fn only_the_sessions_own_tokens_are_genuine() {
        let (session, secret) = (SessionId::new(), [7; 32]);
        let text = RefreshToken::text(session, 3, &secret);
        let read = RefreshToken::read(&text).unwrap();
        assert_eq!((read.session, read.counter), (session, 3));
        assert!(read.is_genuine(&secret));
        assert!(!read.is_genuine(&[8; 32]));
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("rt_").unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = RefreshToken::read(&format!("rt_{}", URL_SAFE_NO_PAD.encode(forged))).unwrap();
            assert!(!forged.is_genuine(&secret), "bit {bit}");
        }
        for nonsense in ["", "rt_", "rt_AAAA", "eyJhbGciOiJFZERTQSJ9.e30.AAAA", &format!("{text}AAAA"), &text[3..]] {
            assert!(RefreshToken::read(nonsense).is_none(), "{nonsense}");
        }
    }
}
