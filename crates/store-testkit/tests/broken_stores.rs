//! The suite is itself tested: it finds nothing wrong with good stores, and something with each broken one.

#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use feature_core::{Capabilities, Clock, OnlineStoreBackend};
use futures::stream::{self, StreamExt};
use store_testkit::{BackendFactory, BrokenStore, Data, Flaw, MapStore, Verdict, async_trait, run_cases};

struct Broken {
    flaw: Flaw,
    /// The first instance over the data of each name.
    data: Mutex<HashMap<String, BrokenStore>>,
    named: AtomicUsize,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self { flaw, data: Mutex::default(), named: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl BackendFactory for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        Ok(Arc::new(BrokenStore::new(self.flaw, clock)))
    }

    async fn data(&self) -> Result<Data, String> {
        Ok(Data::Shared(self.named.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    async fn open_over(
        &self,
        data: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn OnlineStoreBackend>, String> {
        let mut all = self.data.lock().unwrap();
        let first = all.entry(data.to_owned()).or_insert_with(|| BrokenStore::new(self.flaw, clock));
        Ok(Arc::new(first.share()))
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

/// For each flaw a case that must notice it. Others may, too.
const CAUGHT: [(Flaw, &str); 80] = [
    (Flaw::IgnoresPreconditions, "contract::unchanged::on_a_record_changed_since_is_refused"),
    (Flaw::IgnoresShape, "writes::merge_touches_the_features_it_names_alone"),
    (Flaw::LastArrivalWins, "writes::an_older_write_of_the_same_features_is_superseded"),
    (Flaw::RefusesTies, "contract::not_newer_same_shape::on_one_of_the_same_time_stores"),
    (Flaw::LosesConcurrentUpdates, "concurrency::of_racing_puts_on_the_same_record_one_is_stored"),
    (Flaw::StoresWhatItRefuses, "contract::not_newer::on_a_newer_record_is_refused"),
    (Flaw::CarriesAnOutdatedRecord, "precision::refusals::carry_the_record_as_it_is"),
    (Flaw::TimesInSeconds, "precision::times::around_2038_in_seconds"),
    (Flaw::TimesInUnsignedSeconds, "precision::times::around_2106_in_seconds"),
    (Flaw::TimesAsDoubles, "precision::times::around_2255_in_a_double"),
    (Flaw::TimesInMilliseconds, "contract::times::neighbouring_microseconds_differ"),
    (Flaw::TimesWithoutSign, "contract::times::a_negative_time_is_older_than_zero"),
    (Flaw::ShapesAsDoubles, "precision::shapes::that_are_equal_as_a_double"),
    (Flaw::ShapesIn32Bits, "precision::shapes::that_are_equal_in_the_low_32_bits"),
    (Flaw::VersionsAsDoubles, "precision::versions::that_differ_in_one_bit"),
    (Flaw::VersionsIn32Bits, "precision::versions::that_differ_in_one_bit"),
    (Flaw::ReusesVersionsAfterDelete, "contract::unchanged::on_a_record_deleted_and_written_anew_is_refused"),
    (Flaw::VersionsBeginAnew, "reopening::no_state_of_before_the_close_is_taken_for_one_of_after_it"),
    (Flaw::WritesInTwoSteps, "concurrency::a_write_dropped_in_mid_call_is_there_as_a_whole_or_not_at_all"),
    (Flaw::ChecksThenActs, "concurrency::of_racing_puts_on_the_same_record_one_is_stored"),
    (Flaw::LosesWrites, "batches::ten_thousand_rows_are_written_and_read"),
    (Flaw::AllOrNothing, "contract::put::a_refused_row_does_not_hold_up_the_others"),
    (Flaw::FailsAllForOne, "contract::put::a_refused_row_does_not_hold_up_the_others"),
    (Flaw::NeverSaysRefused, "batches::a_batch_of_mixed_fates_settles_each_row"),
    (Flaw::ShiftsOutcomes, "contract::put::answers_in_the_order_of_the_rows"),
    (Flaw::ChecksTheFirstRowsOnly, "contract::put::the_last_of_many_rows_is_conditional_too"),
    (Flaw::CutsLargeBatches, "batches::ten_thousand_rows_are_written_and_read"),
    (Flaw::RepeatsThePreviousRow, "reads::missing_rows_stay_in_their_places"),
    (Flaw::AnswersInKeyOrder, "contract::get::answers_in_the_order_of_the_keys"),
    (Flaw::LeavesMissingRowsOut, "contract::get::has_a_row_for_each_missing_record"),
    (Flaw::JoinsNamesWithUnderscore, "identity::apart::underscore_between_tenant_and_view"),
    (Flaw::ForgetsToEscape, "identity::apart::colon_between_tenant_and_view"),
    (Flaw::FoldsCase, "identity::apart::upper_and_lower_case_entity"),
    (Flaw::TrimsKeys, "identity::apart::trailing_nul_in_an_entity"),
    (Flaw::ForgetsTheView, "identity::one_entity_in_two_views_has_two_records"),
    (Flaw::CutsKeysAt255, "far::apart::entity_value_that_differs_far_behind"),
    (Flaw::CutsTenantsAt64, "far::apart::tenant_that_differs_far_behind"),
    (Flaw::CutsViewsAt128, "far::apart::view_that_differs_far_behind"),
    (Flaw::CutsEntitiesAt1024, "far::apart::join_key_that_differs_far_behind"),
    (Flaw::HashesKeysTo32Bits, "far::apart::so_many_keys_that_short_hashes_collide"),
    (Flaw::TruncatesRecords, "limits::a_record_of_the_largest_size_is_kept"),
    (Flaw::CutsAtPowersOfTwo, "precision::bytes::of_lengths_around_powers_of_two_come_back"),
    (Flaw::KeepsBytesAsText, "contract::get::gives_the_bytes_that_were_put"),
    (Flaw::TrimsZeros, "precision::bytes::of_every_ending_come_back"),
    (Flaw::TurnsLineEnds, "precision::bytes::that_look_like_text_come_back"),
    (Flaw::ServesStaleReads, "reads::a_write_is_seen_by_the_very_next_read"),
    (Flaw::CachesMisses, "reads::a_first_write_is_seen_after_a_read_that_found_nothing"),
    (Flaw::CacheForgetsDeletes, "writes::delete_is_seen_by_the_next_read"),
    (Flaw::CacheForgetsPurges, "scan_purge::purge_is_seen_by_a_read_that_has_seen_the_record"),
    (Flaw::CachesPrivately, "instances::a_write_is_seen_by_another_that_has_read_the_record"),
    (Flaw::OnlySaysItDeletes, "writes::delete_is_seen_by_the_next_read"),
    (Flaw::DeleteAlwaysTrue, "writes::delete_says_whether_there_was_a_record"),
    (Flaw::ReclaimsEarly, "expiry::a_record_is_there_until_its_ttl_is_over_to_the_microsecond"),
    (Flaw::ReclaimsByLocalTime, "expiry::a_long_ttl_is_kept"),
    (Flaw::TtlInMilliseconds, "expiry::a_record_is_there_until_its_ttl_is_over_to_the_microsecond"),
    (Flaw::KeepsTheFirstTtl, "expiry::a_newer_write_lengthens_the_life"),
    (Flaw::KeepsTheTtlWithoutOne, "expiry::a_newer_write_without_a_ttl_makes_it_stay"),
    (Flaw::HasADefaultTtl, "expiry::a_record_without_a_ttl_stays_for_decades"),
    (Flaw::ScanMissesTheLast, "scan_purge::scan_gives_every_record_of_a_view"),
    (Flaw::ScanEndsAtAThousand, "scan_purge::scan_gives_every_record_of_a_view"),
    (Flaw::ScanNeverEnds, "scan_purge::scan_gives_every_record_of_a_view"),
    (Flaw::ScanLeaksNeighbours, "scan_purge::scan_leaves_out::pay_beside_pay_2"),
    (Flaw::ScanCountsOff, "scan_purge::scan_is_not_disturbed_by_deletes_beside_it"),
    (Flaw::ScanStopsAtTheExpired, "scan_purge::scan_is_not_held_up_by_what_has_expired"),
    (Flaw::PurgesByNamePrefix, "scan_purge::purge_spares::pay_beside_pay_2"),
    (Flaw::PurgesBySubstring, "scan_purge::purge_spares::pay_beside_team_pay"),
    (Flaw::PurgesTheTenant, "scan_purge::purge_of_a_view_spares_the_tenant_s_other_views"),
    (Flaw::OnlySaysItPurges, "scan_purge::purge_removes_every_record_of_a_view"),
    (Flaw::PurgeEndsAtAThousand, "scan_purge::purge_removes_every_record_of_a_view"),
    (Flaw::PurgeCountsOneLess, "scan_purge::purge_counts_what_it_has_removed_as_it_goes"),
    (Flaw::PurgeTakesWhatComesLater, "scan_purge::purge_takes_nothing_that_comes_later"),
    (Flaw::LosesTheLargestRecord, "limits::a_record_of_the_largest_size_is_kept"),
    (Flaw::LosesTheLongestKey, "limits::a_key_of_the_longest_size_is_kept"),
    (Flaw::LosesTheLongestTtl, "limits::the_longest_ttl_is_kept"),
    (Flaw::LosesTheLastOfTheLargestBatch, "limits::no_call_has_more_rows_than_the_backend_takes"),
    (Flaw::CloseDoesNothing, "contract::close::put_afterwards_is_unavailable"),
    (Flaw::CloseStopsWritesAlone, "contract::close::get_afterwards_is_unavailable"),
    (Flaw::CloseClosesAll, "instances::closing_one_leaves_another_open"),
    (Flaw::LeaksATask, "contract::close::leaves_no_task_behind"),
    (Flaw::ForgetsAtClose, "reopening::what_was_acknowledged_is_there_after_a_close"),
];

/// What became of each case: why those failed that did, and why those were not tried that were not.
async fn verdicts(factory: impl BackendFactory, filter: &str) -> [BTreeMap<String, String>; 2] {
    let (mut failed, mut not_tried) = (BTreeMap::new(), BTreeMap::new());
    for (name, verdict) in run_cases(Arc::new(factory), filter).await {
        match verdict {
            Verdict::Passed => None,
            Verdict::Failed(why) => failed.insert(name, why),
            Verdict::NotTried(why) => not_tried.insert(name, why),
        };
    }
    [failed, not_tried]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_good_store() {
    let [failed, not_tried] = verdicts(Broken::new(Flaw::None), "").await;
    assert_eq!(failed, BTreeMap::new());
    let without_limits = ["limit", "killed"];
    let other = |why: &&String| !without_limits.iter().any(|word| why.contains(word));
    assert_eq!(not_tried.values().find(other), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_good_store_that_has_limits() {
    let [failed, not_tried] = verdicts(Limited, "").await;
    assert_eq!(failed, BTreeMap::new());
    // The factory opens no data twice, and each case that would have says so.
    assert!(not_tried.keys().all(|name| name.starts_with("instances::") || name.starts_with("reopening::")));
    assert!(not_tried.len() >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_store_is_caught() {
    let missed: Vec<String> = stream::iter(CAUGHT)
        .map(|(flaw, expected)| async move {
            let [failed, _] = verdicts(Broken::new(flaw), expected).await;
            (!failed.contains_key(expected)).then(|| format!("{flaw:?} passes {expected}"))
        })
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn the_readme_says_which_case_catches_which_store() {
    let mut table = String::from("| store | a case that it fails |\n|---|---|\n");
    for (flaw, case) in CAUGHT {
        writeln!(table, "| `{flaw:?}` | `{case}` |").unwrap();
    }
    assert!(include_str!("../README.md").contains(&table), "the README should have\n{table}");
}
