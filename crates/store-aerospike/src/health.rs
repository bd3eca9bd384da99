//! What an operator should know about the cluster.

use std::collections::BTreeSet;

use feature_core::{Health, Result};

use crate::cluster::Cluster;
use crate::config::AerospikeConfig;
use crate::info::{Account, ask, set_names};

/// How many sets a namespace can have.
const MAX_SETS: usize = 4_095;

pub(crate) async fn check(cluster: &Cluster) -> Result<Health> {
    let config = cluster.config();
    let namespace = &config.namespace;
    let commands = [
        &*format!("namespace/{namespace}"),
        &*format!("sets/{namespace}"),
        "edition",
        "build",
        "get-config:context=service",
    ];
    let answers = ask(cluster.client()?, config, &commands).await?;
    Ok(health(config, &answers))
}

fn health(config: &AerospikeConfig, answers: &[Vec<String>]) -> Health {
    let accounts: Vec<Account> = answers.iter().map(|answer| Account::parse(&answer[0])).collect();
    let services: Vec<Account> = answers.iter().map(|answer| Account::parse(&answer[4])).collect();
    let sets: BTreeSet<&str> = answers.iter().flat_map(|answer| set_names(&answer[1])).collect();
    let distinct = |at: usize| {
        let texts: BTreeSet<&str> = answers.iter().map(|answer| answer[at].as_str()).collect();
        texts.into_iter().collect::<Vec<_>>().join(", ")
    };
    let least =
        |of: &[Account], name: &str| of.iter().map(|account| account.number::<u64>(name)).min().unwrap_or(0);
    let most = |name: &str| accounts.iter().map(|account| account.number::<u64>(name)).max().unwrap_or(0);
    let sum = |name: &str| accounts.iter().map(|account| account.number::<u64>(name)).sum::<u64>();
    let any = |name: &str| accounts.iter().any(|account| account.is(name));
    let takes_ttls = accounts.iter().all(Account::takes_ttls);
    let limit =
        services.iter().map(|service| service.number::<u64>("batch-max-requests")).filter(|n| *n > 0).min();

    let mut health = Health::default();
    let mut fact = |name: &str, value: String| health.facts.push((name.to_owned(), value));
    fact("namespace", config.namespace.clone());
    fact("servers", answers.len().to_string());
    fact("edition", distinct(2));
    fact("version", distinct(3));
    fact("cluster_size", least(&accounts, "ns_cluster_size").to_string());
    fact("replication_factor", least(&accounts, "effective_replication_factor").to_string());
    fact("records", sum("master_objects").to_string());
    fact("sets", format!("{} of {MAX_SETS}", sets.len()));
    fact("data_bytes", sum("data_total_bytes").to_string());
    fact("data_used_percent", most("data_used_pct").to_string());
    fact("data_available_percent", least(&accounts, "data_avail_pct").to_string());
    fact("stop_writes", any("stop_writes").to_string());
    fact("ttl", if takes_ttls { "taken" } else { "refused" }.to_owned());
    fact("nsup_period_seconds", least(&accounts, "nsup-period").to_string());
    fact("max_record_size_bytes", least(&accounts, "max-record-size").to_string());
    fact("batch_max_requests", limit.map_or("unlimited".to_owned(), |limit| limit.to_string()));
    fact("durable", accounts.iter().all(Account::is_durable).to_string());

    let mut warn = |text: String| health.warnings.push(text);
    if any("stop_writes") || any("clock_skew_stop_writes") {
        warn(
            "the namespace takes no writes (stop-writes): let records expire, or give it more room"
                .to_owned(),
        );
    } else if most("data_used_pct") * 10 >= most("storage-engine.stop-writes-used-pct") * 9 {
        let (used, stop) = (most("data_used_pct"), most("storage-engine.stop-writes-used-pct"));
        warn(format!("{used} % of the storage is used, and at {stop} % writes stop: give it more room"));
    }
    if !takes_ttls {
        warn(
            "records with a TTL are refused: set nsup-period (such as 120) for the namespace, or \
             allow-ttl-without-nsup"
                .to_owned(),
        );
    } else if least(&accounts, "nsup-period") == 0 {
        warn(
            "nsup-period is 0, so that expired records keep their memory: set it, to 120 for instance"
                .to_owned(),
        );
    }
    if sets.len() * 10 >= MAX_SETS * 9 {
        warn(format!("{} of {MAX_SETS} sets are in use: use layout=single for more views", sets.len()));
    }
    if least(&accounts, "effective_replication_factor") < most("replication-factor") {
        warn(
            "there are fewer servers than replication-factor asks for: the loss of one loses data".to_owned(),
        );
    }
    if any("pending_quiesce") || sum("unavailable_partitions") + sum("dead_partitions") > 0 {
        warn("parts of the data are not available: bring missing servers back".to_owned());
    }
    let rows = config.batch_rows;
    if let Some(limit) = limit.filter(|limit| *limit < rows as u64) {
        warn(format!(
            "batch-max-requests is {limit}, less than batch_rows, {rows}: lower this, or raise that"
        ));
    }
    health
}
