//! Clients that work on one record at the same time see it change in one order.

use std::sync::Arc;

use feature_core::{Error, ErrorKind};

use crate::case::{Context, Outcome, Subject, failure};
use crate::faults::{Fault, FaultyBackend};
use crate::history::{HistoryPlan, histories};

/// Enough for the kit's broken stores to be found out many times over.
const HISTORIES: usize = 60;

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("of_a_record_have_one_order", |c| async move {
        let plan = HistoryPlan { histories: HISTORIES, seed: fastrand::u64(..), ..HistoryPlan::default() };
        histories(c.backend(), &c.tenant, &plan).await.map(drop).map_err(failure)
    });
    s.case("of_a_record_have_one_order_whatever_answers_are_lost", |c| async move { lossy(&c).await });
}

/// One call in three fails or loses its answer.
async fn lossy(c: &Context) -> Outcome {
    let seed = fastrand::u64(..);
    let refused = Error::new(ErrorKind::Unavailable, "the connection was refused");
    let faults = vec![Fault::LoseReply, Fault::Fail(refused)];
    let faulty = Arc::new(FaultyBackend::random(c.backend().clone(), seed, 3, faults));
    let plan = HistoryPlan { histories: HISTORIES / 2, seed, ..HistoryPlan::default() };
    let report = histories(&(faulty as _), &c.tenant, &plan).await.map_err(failure)?;
    if report.in_doubt == 0 { Err(failure(format!("no answer was lost: {report}"))) } else { Ok(()) }
}
