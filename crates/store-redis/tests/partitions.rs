//! Servers and clients on a network that fails: who is cut off, what is lost on the way, and what of the
//! acknowledged writes each topology keeps, as docs/redis.md says.
//!
//! Each member is in a network namespace of its own, for which the tests need `ip`, `nft` and the rights of
//! root; else they are ignored, unless `FSTORE_REQUIRE` names `partitions`. `FSTORE_PARTITION_ROUNDS` runs each
//! of them so many times.

mod common;
mod network;

use std::process::ExitCode;

use network::Setting::{Default, MinReplicas, Wait};
use network::{cluster, sentinel};
use store_testkit::ServerTests;

fn main() -> ExitCode {
    ServerTests::new("redis", "redis-server")
        .rounds("FSTORE_PARTITION_ROUNDS")
        .test("sentinel_a_primary_cut_off_loses_what_it_acknowledges", || sentinel::partition(Default))
        .test("sentinel_min_replicas_to_write_limit_what_a_primary_cut_off_acknowledges", || {
            sentinel::partition(MinReplicas)
        })
        .test("sentinel_what_all_replicas_have_confirmed_outlives_a_partition", || sentinel::partition(Wait))
        .test("sentinel_a_kill_loses_what_the_replicas_did_not_have", || sentinel::killed_behind(Default))
        .test("sentinel_what_all_replicas_have_confirmed_outlives_a_kill", || sentinel::killed_behind(Wait))
        .test("sentinel_what_all_replicas_have_confirmed_outlives_random_loss", sentinel::lossy)
        .test("sentinel_a_primary_far_away_is_written_to", sentinel::delayed)
        .test("cluster_a_primary_cut_off_takes_no_writes_for_long", || cluster::partition(Default))
        .test("cluster_what_the_replica_has_confirmed_outlives_a_partition", || cluster::partition(Wait))
        .test("cluster_a_kill_loses_what_the_replica_did_not_have", || cluster::killed_behind(Default))
        .test("cluster_what_the_replica_has_confirmed_outlives_a_kill", || cluster::killed_behind(Wait))
        .run()
}
