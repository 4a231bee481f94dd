//! Lets members in: decides about first packets, carries handshakes and hellos to their end within a time.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use quinn::{Connection, Incoming};
use quorate_types::ValidatorIndex;
use tokio::time::timeout;

use super::admission::{Admission, Decision};
use super::event::{By, NetEvent, Reason, cause};
use super::peer::{Link, close};
use super::shared::Shared;
use super::{hello, session, tls};

/// Returns when the endpoint is closed.
pub(crate) async fn serve(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let address = incoming.remote_address();
        let validated = incoming.remote_address_validated();
        let decision = lock(&shared).decide(address.ip(), validated);
        match decision {
            Decision::Accept => {
                let permit = HalfOpen(Arc::clone(&shared), address);
                tokio::spawn(admit(Arc::clone(&shared), incoming, permit));
            }
            Decision::Retry => {
                // Fails only for validated ones; dropping it then refuses.
                let _ = incoming.retry();
            }
            Decision::Refuse => incoming.refuse(),
            Decision::Ignore => incoming.ignore(),
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Admission> {
    let admission = shared.admission.lock();
    admission.unwrap_or_else(PoisonError::into_inner)
}

/// A place among the half-open connections, given back when dropped.
struct HalfOpen(Arc<Shared>, SocketAddr);

impl Drop for HalfOpen {
    fn drop(&mut self) {
        lock(&self.0).done(self.1.ip());
    }
}

async fn admit(shared: Arc<Shared>, incoming: Incoming, permit: HalfOpen) {
    let address = permit.1;
    let mut from = None;
    let handshake = handshake(&shared, incoming, &mut from);
    let outcome = timeout(shared.limits.handshake_timeout, handshake).await;
    match outcome.unwrap_or(Err((Reason::TimedOut, By::Us))) {
        Ok((connection, link, software)) => {
            lock(&shared).know(address.ip());
            drop(permit);
            session::run(shared, link, connection, software).await;
        }
        Err((reason, by)) => {
            if reason.is_refusal() {
                (shared.sink)(NetEvent::Rejected {
                    from,
                    address,
                    reason,
                    by,
                });
            }
        }
    }
}

async fn handshake(
    shared: &Shared,
    incoming: Incoming,
    from: &mut Option<ValidatorIndex>,
) -> Result<(Connection, Arc<Link>, String), (Reason, By)> {
    let connection = incoming.await.map_err(|error| cause(&error))?;
    // From here on it is a member, or was one when its key was checked.
    let link = tls::peer_key(&connection)
        .and_then(|key| shared.members.index_of(&key))
        .and_then(|index| shared.link(index));
    let refuse = |reason| {
        close(&connection, reason);
        (reason, By::Us)
    };
    let link = link.ok_or_else(|| refuse(Reason::Removed))?;
    *from = Some(link.index());
    if link.index() > shared.me {
        return Err(refuse(Reason::WrongDirection));
    }
    let software = hello::accepted(&connection, &shared.hello(), link.index()).await?;
    Ok((connection, link, software))
}
