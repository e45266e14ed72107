//! Passwords by Argon2id, on threads of their own: as many as may run at once, with a bounded queue before them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::anyhow;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, oneshot};

use crate::config::Settings;
use crate::infra::metrics::{Counted, Metrics};

/// Memory in KiB, passes and lanes: OWASP's first choice for Argon2id.
const PARAMS: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How much the hashing threads yield to the others, of 19: whoever signs in takes no time from those who read.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and verifies passwords.
pub struct Passwords {
    argon2: Argon2<'static>,
    /// To the hashing threads, which end with it.
    queue: Sender<Job>,
    /// Of those whose hash runs or waits: beyond this, callers are turned away.
    places: Arc<Semaphore>,
    /// Verified in place of an unknown user's, so that both cost the same.
    decoy: String,
    metrics: Arc<Metrics>,
}

/// Why a password was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are waiting to be checked")]
    Busy,
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Passwords {
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let (memory, passes, lanes) = PARAMS;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| anyhow!("{error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut nobodys = [0; 32];
        aws_lc_rs::rand::fill(&mut nobodys).map_err(|_| anyhow!("no random numbers"))?;
        let decoy = hash(&argon2, &nobodys)?;
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let at_once = settings.password_hashes();
        for _ in 0..at_once {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&jobs))?;
        }
        let places = Arc::new(Semaphore::new(at_once + settings.password_queue as usize));
        Ok(Self { argon2, queue, places, decoy, metrics })
    }

    /// The password's hash in PHC form.
    pub async fn hash(&self, password: &SecretString) -> Result<String, PasswordError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.run(move || hash(&argon2, password.expose_secret().as_bytes())).await
    }

    /// A hash that no password has, for accounts without one.
    pub fn nobodys(&self) -> &str {
        &self.decoy
    }

    /// Whether the password has this hash; without one it costs as much and is false.
    pub async fn verify(&self, password: &SecretString, hash: Option<&str>) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let (argon2, password) = (self.argon2.clone(), password.clone());
        let hash = hash.unwrap_or(&self.decoy).to_owned();
        self.run(move || {
            let hash = PasswordHash::new(&hash).map_err(|error| anyhow!("a stored password hash: {error}"))?;
            let matches = argon2.verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
            Ok(matches && known)
        })
        .await
    }

    /// Whether a password with this hash would be hashed otherwise today.
    pub fn needs_upgrade(&self, hash: &str) -> bool {
        let today = self.argon2.params();
        PasswordHash::new(hash).map_or(true, |hash| {
            let params = Params::try_from(&hash);
            hash.algorithm != Algorithm::Argon2id.ident()
                || hash.version != Some(Version::V0x13.into())
                || params.map_or(true, |params| {
                    (params.m_cost(), params.t_cost(), params.p_cost())
                        != (today.m_cost(), today.t_cost(), today.p_cost())
                })
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let place = Arc::new(place);
        let (waiting, metrics) = (Arc::downgrade(&place), Arc::clone(&self.metrics));
        let (done, outcome) = oneshot::channel();
        let queued = Counted::by(&metrics.password_hashes_waiting);
        let job = move || {
            drop(queued);
            // Nothing is hashed for a caller who went away while they waited; one who goes away now leaves their place to it.
            let Some(_place) = waiting.upgrade() else { return };
            metrics.password_hashes.inc();
            let outcome = {
                let _counted = Counted::by(&metrics.password_hashes_running);
                work()
            };
            let _ = done.send(outcome);
        };
        self.queue.send(Box::new(job)).map_err(|_| anyhow!("nobody hashes"))?;
        let outcome = outcome.await;
        drop(place);
        Ok(outcome.map_err(anyhow::Error::from)??)
    }

    /// Whether another password may wait to be looked at.
    ///
    /// # Errors
    /// When there is no room: better said before anything is read for whoever asks.
    pub fn room(&self) -> Result<(), PasswordError> {
        if self.places.available_permits() == 0 { Err(PasswordError::Busy) } else { Ok(()) }
    }
}

/// What a hashing thread does: one job after another. One that panics answers nobody, and the next is done all the same.
fn work(jobs: &Mutex<Receiver<Job>>) {
    // Where the system has no priorities of threads, all are alike.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> anyhow::Result<String> {
    Ok(argon2.hash_password(password).map_err(|error| anyhow!("{error}"))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(flags: &[&str]) -> (Arc<Passwords>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let passwords = Passwords::new(&Settings::from_flags(flags).unwrap(), Arc::clone(&metrics));
        (Arc::new(passwords.unwrap()), metrics)
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_still_verifies_and_is_to_be_upgraded() {
        let (passwords, _) = passwords(&[]);
        let password = SecretString::from("correct horse");
        let today = passwords.hash(&password).await.unwrap();
        assert!(!passwords.needs_upgrade(&today), "{today}");
        let (memory, passes, lanes) = PARAMS;
        for (algorithm, version, memory, passes) in [
            (Algorithm::Argon2id, Version::V0x13, memory / 2, passes),
            (Algorithm::Argon2id, Version::V0x13, memory, passes - 1),
            (Algorithm::Argon2id, Version::V0x10, memory, passes),
            (Algorithm::Argon2i, Version::V0x13, memory, passes),
        ] {
            let params = Params::new(memory, passes, lanes, None).unwrap();
            let old = hash(&Argon2::new(algorithm, version, params), b"correct horse").unwrap();
            assert!(passwords.verify(&password, Some(&old)).await.unwrap(), "{old}");
            assert!(!passwords.verify(&"wrong horse".into(), Some(&old)).await.unwrap(), "{old}");
            assert!(passwords.needs_upgrade(&old), "{old}");
        }
        assert!(passwords.needs_upgrade("$2b$12$abcdefghijklmnopqrstuuPDyFoJHNHoSmPzGYMtLEHkWxHTPwVFi"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_hashes_run_than_may_whatever_becomes_of_them() {
        let (passwords, metrics) = passwords(&["--password-hashes", "2"]);
        let running = (0..40).map(|number| {
            let (passwords, seen) = (Arc::clone(&passwords), Arc::clone(&metrics));
            tokio::spawn(async move {
                let look = move || {
                    std::thread::yield_now();
                    let (running, waiting) = (seen.password_hashes_running.get(), seen.password_hashes_waiting.get());
                    assert!(number % 2 == 0, "a hash that panics");
                    Ok((running, waiting))
                };
                passwords.run(look).await
            })
        });
        let (mut looked, mut most_waited) = (0, 0);
        for seen in running.collect::<Vec<_>>() {
            if let Ok((running, waiting)) = seen.await.unwrap() {
                assert!((1..=2).contains(&running), "{running} run at once");
                (looked, most_waited) = (looked + 1, most_waited.max(waiting));
            }
        }
        assert_eq!((looked, metrics.password_hashes.get(), metrics.password_hashes_running.get()), (20, 40, 0));
        assert_eq!((most_waited > 0, metrics.password_hashes_waiting.get()), (true, 0));
    }
}
