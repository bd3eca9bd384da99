//! What must hold after a failover.

use feature_core::OnlineStore;
use store_testkit::TestFailure;
use store_testkit::load::Load;

use crate::harm::SLACK;

/// Ends a load that has lived through a failover. Replication is asynchronous, so acknowledged writes may be
/// lost, and older ones be read: how many, this says. Nothing else may be wrong.
#[expect(clippy::print_stdout, reason = "what a failover lost is for whoever reads the run")]
pub(crate) async fn survived(fault: &str, load: Load, store: &OnlineStore) -> Result<(), TestFailure> {
    let report = load.stop().await;
    report.deadline_kept(SLACK)?;
    report.nothing_wrong()?;
    let verification = report.verify(store).await?;
    println!(
        "{fault}: {} of {} acknowledged rows lost, {} stale reads",
        verification.lost.len(),
        report.writes().rows_ok,
        report.stale()
    );
    Ok(verification.nothing_wrong()?)
}
