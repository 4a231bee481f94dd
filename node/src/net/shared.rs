//! What the tasks of a network have in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use quinn::Endpoint;
use quorate_types::{ChainId, ValidatorIndex};

use super::admission::Admission;
use super::config::Limits;
use super::hello::{Hello, WIRE_VERSIONS};
use super::peer::{Link, Sink};
use super::tls::{Identity, Members};

pub(crate) struct Shared {
    pub(crate) me: ValidatorIndex,
    pub(crate) chain: ChainId,
    pub(crate) software: String,
    pub(crate) limits: Limits,
    pub(crate) endpoint: Endpoint,
    pub(crate) identity: Identity,
    pub(crate) members: Arc<Members>,
    pub(crate) links: RwLock<BTreeMap<ValidatorIndex, Arc<Link>>>,
    pub(crate) admission: Mutex<Admission>,
    pub(crate) sink: Box<Sink>,
}

impl Shared {
    pub(crate) fn link(&self, index: ValidatorIndex) -> Option<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(&index).map(Arc::clone)
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.values().map(Arc::clone).collect()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            versions: WIRE_VERSIONS.to_vec(),
            chain: self.chain,
            from: self.me,
            software: self.software.clone(),
        }
    }
}
