//! Who is signed in: kept in memory, so a restart signs everybody out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use feature_core::{Error, ErrorKind, Result, Secret};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use crate::auth::KeyHash;

/// How long somebody stays signed in at most.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// How long somebody stays signed in who asks for nothing.
const IDLE: Duration = Duration::from_secs(3_600);
/// How many sessions there are; the one that has been idle longest makes room.
const MOST: usize = 1_024;

/// Sessions by the hash of their name: looking one up takes no longer for a name that is nearly right.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<KeyHash, Session>>);

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Session {
    /// What was shown: it is looked at anew with each request, since keys may be taken back.
    pub(super) token: Secret,
    /// What every form of this session must send.
    pub(super) csrf: String,
    begun: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.begun) >= LONGEST || now.duration_since(self.used) >= IDLE
    }
}

impl Sessions {
    /// Begins a session: its name, for the cookie.
    ///
    /// # Errors
    /// `Internal` where the system has no random numbers.
    pub(super) fn begin(&self, token: &str, now: Instant) -> Result<String> {
        let (name, csrf) = (random()?, random()?);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| !session.is_over(now));
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, session)| session.used).map(|(hash, _)| *hash)
        {
            all.remove(&oldest);
        }
        all.insert(KeyHash::of(&name), Session { token: token.into(), csrf, begun: now, used: now });
        Ok(name)
    }

    /// The session of this name, which goes on.
    pub(super) fn find(&self, name: &str, now: Instant) -> Option<Session> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = all.get_mut(&KeyHash::of(name)).filter(|session| !session.is_over(now))?;
        session.used = now;
        Some(session.clone())
    }

    pub(super) fn end(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&KeyHash::of(name));
    }
}

/// 256 random bits.
///
/// # Errors
/// `Internal` where the system has none.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::new(ErrorKind::Internal, "the system gives no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_or_old_or_told_to() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let begin = || sessions.begin("key", start).unwrap();
        let (idle, busy, ended) = (begin(), begin(), begin());
        sessions.end(&ended);
        assert!(sessions.find(&ended, start).is_none() && sessions.find("made up", start).is_none());
        let half = IDLE / 2;
        for step in 1..=(LONGEST.as_secs() / half.as_secs()) as u32 {
            let now = start + half * step;
            assert_eq!(sessions.find(&busy, now).is_some(), half * step < LONGEST, "{step}");
        }
        assert!(sessions.find(&idle, start + IDLE).is_none());
        assert!(sessions.find(&idle, start + half).is_some());
    }

    #[test]
    fn the_session_that_is_idle_longest_makes_room() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let later = |n: usize| start + Duration::from_millis(n as u64);
        let names: Vec<String> = (0..MOST).map(|n| sessions.begin("key", later(n)).unwrap()).collect();
        sessions.find(&names[0], later(MOST)).unwrap();
        sessions.begin("key", later(MOST)).unwrap();
        assert!(sessions.find(&names[0], later(MOST)).is_some());
        assert!(sessions.find(&names[1], later(MOST)).is_none());
        assert!(sessions.find(&names[2], later(MOST)).is_some());
    }
}
