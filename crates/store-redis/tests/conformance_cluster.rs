//! The conformance suite, on a cluster of three nodes.

mod suite;

use std::process::ExitCode;

use store_testkit::servers::RedisCluster;

fn main() -> ExitCode {
    suite::run("redis", || async {
        let cluster = RedisCluster::start(3, 0).await?;
        Ok((cluster.url(), cluster.how(), Box::new(cluster) as _))
    })
}
