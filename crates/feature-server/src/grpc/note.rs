//! What is noted of a call: counted, and logged where it was slow or failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::HeaderMap;
use tonic::{Code, Status};

use super::call::Refusing;
use crate::http::{Context, Outcome};
use crate::live::{Live, State as Server};
use crate::observe::Route;

/// What is noted of a call once it is over, that is, when this is dropped.
pub(super) struct Note {
    pub(super) server: Arc<Server>,
    pub(super) live: Arc<Live>,
    pub(super) context: Context,
    pub(super) route: Route,
    pub(super) refusing: Refusing,
    pub(super) received: Arc<AtomicUsize>,
    /// Of a call that is no stream: how long it took until its answer was made.
    pub(super) took: Option<Duration>,
    /// `None` until it is known; a call that ends without one was cancelled by the client.
    pub(super) code: Option<Code>,
    pub(super) sent: usize,
}

impl Note {
    /// So much more of the answer was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// The answer has ended.
    pub(super) fn ended(&mut self, trailers: &HeaderMap) {
        let status = Status::from_header_map(trailers);
        self.code = Some(status.map_or(Code::Unknown, |status| status.code()));
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let took = self.took.unwrap_or_else(|| self.context.began.elapsed());
        let code = self.code.unwrap_or(Code::Cancelled);
        self.context.received = self.received.load(Relaxed);
        let (received, sent) = (self.context.received, self.sent);
        self.server.metrics.called(self.route, code as usize, took, received, sent);
        let refusal = self.refusing.refusal();
        if let Some(refusal) = refusal {
            self.server.metrics.refused(refusal);
        }
        let failed = !matches!(code, Code::Ok | Code::Cancelled);
        let slow = self.took.is_some_and(|took| took >= self.live.settings.timeouts.slow);
        if failed || slow {
            let inside = matches!(
                code,
                Code::Unknown | Code::Internal | Code::Unavailable | Code::DeadlineExceeded | Code::DataLoss
            );
            let (route, status) = (self.route, code as u16);
            self.context.log(&Outcome { route, status, inside, refusal, sent, took });
        }
    }
}
