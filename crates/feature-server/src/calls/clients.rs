//! What each client has of what all share: none may have more than half.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use super::{Budget, Refusal, Reservation};

/// When there are so many clients, those that have nothing are forgotten.
const MANY: usize = 1_000;

/// What one client has.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Bytes of requests and answers.
    pub(crate) memory: Budget,
    /// Requests that are worked on.
    pub(crate) in_flight: Budget,
}

impl Share {
    fn of(whole: &Self) -> Self {
        Self { memory: whole.memory.share(), in_flight: whole.in_flight.share() }
    }

    /// One more request that is worked on.
    ///
    /// # Errors
    /// `Unavailable` when there are as many as may be, `Throttled` when the client has as many as it may.
    pub(crate) fn work(&self) -> Result<Reservation, Refusal> {
        let taken = self.in_flight.take(1);
        taken.map_err(|full| full.refusal("as many requests to work on", "limits.in_flight"))
    }

    fn is_idle(&self) -> bool {
        self.memory.taken() == 0 && self.in_flight.taken() == 0
    }
}

/// Who has a share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client<'a> {
    /// The name of a principal.
    Named(&'a str),
    /// From where somebody asks who need not say who they are.
    At(IpAddr),
}

/// What the clients have.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    named: RwLock<HashMap<String, Share>>,
    addressed: RwLock<HashMap<IpAddr, Share>>,
}

impl Clients {
    /// The share that a client has of the whole.
    pub(crate) fn share(&self, whole: &Share, client: Client<'_>) -> Share {
        match client {
            Client::Named(name) => find(&self.named, name, whole),
            Client::At(address) => find(&self.addressed, &address, whole),
        }
    }
}

fn find<K, Q>(clients: &RwLock<HashMap<K, Share>>, client: &Q, whole: &Share) -> Share
where
    K: std::borrow::Borrow<Q> + Eq + Hash,
    Q: ToOwned<Owned = K> + Eq + Hash + ?Sized,
{
    if let Some(share) = clients.read().unwrap_or_else(PoisonError::into_inner).get(client) {
        return share.clone();
    }
    let mut clients = clients.write().unwrap_or_else(PoisonError::into_inner);
    if clients.len() >= MANY {
        clients.retain(|_, share| !share.is_idle());
    }
    clients.entry(client.to_owned()).or_insert_with(|| Share::of(whole)).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_share_and_idle_ones_are_forgotten() {
        let whole = Share { memory: Budget::new(100), in_flight: Budget::new(10) };
        let clients = Clients::default();
        let share = |n: u32| clients.share(&whole, Client::At(IpAddr::V4(n.into())));
        let taken = share(0).memory.take(50).unwrap();
        assert!(share(0).memory.take(1).is_err());
        assert!(share(1).memory.take(50).is_ok());
        for n in 0..3_000 {
            share(n);
        }
        assert!(clients.addressed.read().unwrap().len() <= MANY);
        assert!(share(0).memory.take(1).is_err(), "it still has what it had");
        drop(taken);
        assert!(share(0).memory.take(50).is_ok());
        assert!(clients.share(&whole, Client::Named("a")).in_flight.take(5).is_ok());
    }
}
