//! The suite is itself tested: it finds nothing wrong with good stores, and something with each broken one.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{Capabilities, Clock, OnlineStoreBackend};
use store_testkit::{BackendFactory, BrokenStore, Flaw, MapStore, async_trait, run_cases};

struct Broken(Flaw);

#[async_trait]
impl BackendFactory for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        Ok(Arc::new(BrokenStore::new(self.0, clock)))
    }
}

/// A good store with a limit of every kind.
struct Limited;

#[async_trait]
impl BackendFactory for Limited {
    fn name(&self) -> &'static str {
        "limited"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let mut capabilities = Capabilities::new("limited");
        capabilities.max_record_bytes = Some(100_000);
        capabilities.max_key_bytes = Some(300);
        capabilities.max_ttl = Some(Duration::from_secs(400 * 86_400));
        capabilities.max_batch_rows = Some(700);
        Ok(Arc::new(MapStore::new(clock).with_capabilities(capabilities)))
    }
}

/// The names of the cases that fail, and why.
async fn failures(factory: impl BackendFactory, filter: &str) -> BTreeMap<String, String> {
    let results = run_cases(Arc::new(factory), filter).await;
    assert!(filter.contains("::") || results.len() >= 150, "the suite has {} cases", results.len());
    results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect()
}

/// A case that must notice a flaw. Others may, too.
const fn must_fail(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::None => "",
        Flaw::IgnoresPreconditions => "contract::unchanged::on_a_record_changed_since_is_refused",
        Flaw::IgnoresShape => "writes::merge_touches_the_features_it_names_alone",
        Flaw::LastArrivalWins => "writes::an_older_write_of_the_same_features_is_superseded",
        Flaw::RefusesTies => "contract::not_newer_same_shape::on_one_of_the_same_time_stores",
        Flaw::LosesConcurrentUpdates => "concurrency::of_racing_puts_on_the_same_record_one_is_stored",
        Flaw::StoresWhatItRefuses => "contract::not_newer::on_a_newer_record_is_refused",
        Flaw::WritesInTwoSteps => {
            "concurrency::a_write_dropped_in_mid_call_is_there_as_a_whole_or_not_at_all"
        }
        Flaw::AllOrNothing => "contract::put::a_refused_row_does_not_hold_up_the_others",
        Flaw::NeverSaysRefused => "batches::a_batch_of_mixed_fates_settles_each_row",
        Flaw::LosesWrites => "batches::ten_thousand_rows_are_written_and_read",
        Flaw::CutsLargeBatches => "batches::ten_thousand_rows_are_written_and_read",
        Flaw::JoinsNamesWithUnderscore => "identity::apart::underscore_between_tenant_and_view",
        Flaw::ForgetsToEscape => "identity::apart::colon_between_tenant_and_view",
        Flaw::FoldsCase => "identity::apart::upper_and_lower_case_entity",
        Flaw::TrimsKeys => "identity::apart::trailing_nul_in_an_entity",
        Flaw::ForgetsTheView => "identity::one_entity_in_two_views_has_two_records",
        Flaw::TruncatesRecords => "limits::a_record_of_the_largest_size_is_kept",
        Flaw::KeepsBytesAsText => "contract::get::gives_the_bytes_that_were_put",
        Flaw::ServesStaleReads => "reads::a_write_is_seen_by_the_very_next_read",
        Flaw::RepeatsThePreviousRow => "reads::missing_rows_stay_in_their_places",
        Flaw::AnswersInKeyOrder => "contract::get::answers_in_the_order_of_the_keys",
        Flaw::LeavesMissingRowsOut => "contract::get::has_a_row_for_each_missing_record",
        Flaw::OnlySaysItDeletes => "writes::delete_is_seen_by_the_next_read",
        Flaw::DeleteAlwaysTrue => "writes::delete_says_whether_there_was_a_record",
        Flaw::ReclaimsEarly => "expiry::a_record_is_there_until_its_ttl_is_over_to_the_microsecond",
        Flaw::KeepsTheFirstTtl => "expiry::a_newer_write_lengthens_the_life",
        Flaw::HasADefaultTtl => "expiry::a_record_without_a_ttl_stays_for_decades",
        Flaw::ScanMissesTheLast => "scan_purge::scan_gives_every_record_of_a_view",
        Flaw::ScanNeverEnds => "scan_purge::scan_gives_every_record_of_a_view",
        Flaw::ScanLeaksNeighbours => "scan_purge::scan_leaves_out::pay_beside_pay_2",
        Flaw::PurgesByNamePrefix => "scan_purge::purge_spares::pay_beside_pay_2",
        Flaw::PurgesBySubstring => "scan_purge::purge_spares::pay_beside_team_pay",
        Flaw::PurgesTheTenant => "scan_purge::purge_of_a_view_spares_the_tenant_s_other_views",
        Flaw::OnlySaysItPurges => "scan_purge::purge_removes_every_record_of_a_view",
        Flaw::CloseDoesNothing => "contract::close::put_afterwards_is_unavailable",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_good_store() {
    assert_eq!(failures(Broken(Flaw::None), "").await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_good_store_that_has_limits() {
    assert_eq!(failures(Limited, "").await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_store_is_caught() {
    // The subject of the case that must notice is enough; most others are slow on a store that misbehaves.
    let caught = futures::future::join_all(Flaw::ALL.map(|flaw| async move {
        let expected = must_fail(flaw);
        let subject = &expected[..=expected.find("::").unwrap() + 1];
        let failures = failures(Broken(flaw), subject).await;
        println!("{flaw:?} is caught by {} cases of {subject}", failures.len());
        (flaw, expected, failures)
    }));
    let missed: Vec<String> = caught
        .await
        .into_iter()
        .filter(|(_, expected, failures)| !failures.contains_key(*expected))
        .map(|(flaw, expected, failures)| format!("{flaw:?} passes {expected}; fails {:?}", failures.keys()))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
