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

#[cfg(test)]
mod tests {
    use super::*;

    /// The account of a namespace in which all is well.
    const WELL: &str = "ns_cluster_size=3;effective_replication_factor=2;replication-factor=2;\
        master_objects=10;data_total_bytes=1000;data_used_pct=62;data_avail_pct=30;stop_writes=false;\
        clock_skew_stop_writes=false;unavailable_partitions=0;dead_partitions=0;pending_quiesce=false;\
        nsup-period=120;allow-ttl-without-nsup=false;max-record-size=1048576;\
        storage-engine=device;storage-engine.stop-writes-used-pct=70";
    const SETS: &str = "ns=features:set=t_v:objects=10;ns=features:set=t_w:objects=0;";
    const SERVICE: &str = "batch-max-requests=1000";

    /// What a server says, with something else in its account of the namespace.
    fn server(change: &str) -> Vec<String> {
        let name = change.split('=').next().unwrap_or_default();
        let kept = WELL.split(';').filter(|pair| pair.split('=').next() != Some(name));
        let account = kept.chain([change]).collect::<Vec<_>>().join(";");
        [&*account, SETS, "Community", "8.1.0.0", SERVICE].map(str::to_owned).into()
    }

    fn report(answers: &[Vec<String>]) -> Health {
        health(&AerospikeConfig::default(), answers)
    }

    #[test]
    fn each_warning_begins_where_it_should() {
        let (full, partly) = ("takes no writes (stop-writes)", "parts of the data are not available");
        for (change, warning) in [
            ("", None),
            ("stop_writes=true", Some(full)),
            ("clock_skew_stop_writes=true", Some(full)),
            ("data_used_pct=63", Some("63 % of the storage is used, and at 70 % writes stop")),
            ("nsup-period=1", None),
            ("nsup-period=0", Some("records with a TTL are refused")),
            ("effective_replication_factor=1", Some("fewer servers than replication-factor asks for")),
            ("effective_replication_factor=3", None),
            ("pending_quiesce=true", Some(partly)),
            ("unavailable_partitions=1", Some(partly)),
            ("dead_partitions=1", Some(partly)),
        ] {
            let warnings = report(&[server(change)]).warnings;
            assert_eq!(warnings.len(), usize::from(warning.is_some()), "{change}: {warnings:?}");
            assert!(warnings.concat().contains(warning.unwrap_or_default()), "{change}: {warnings:?}");
            // One of several servers is enough.
            assert_eq!(report(&[server(""), server(change)]).warnings, warnings, "{change}");
            assert_eq!(report(&[server(change), server("")]).warnings, warnings, "{change}");
        }
        let mut kept = server("allow-ttl-without-nsup=true");
        kept[0] = kept[0].replace("nsup-period=120", "nsup-period=0");
        let health = report(&[kept]);
        assert!(health.warnings.concat().starts_with("nsup-period is 0, so that"), "{health:?}");
        assert!(health.facts.contains(&("ttl".to_owned(), "taken".to_owned())), "{health:?}");
    }

    #[test]
    fn nine_tenths_of_all_sets_are_many() {
        for (count, warns) in [(3_685, false), (3_686, true), (4_095, true)] {
            let mut answers = server("");
            answers[1] = (0..count).map(|set| format!("ns=features:set=t_{set}:objects=1;")).collect();
            let warnings = report(&[answers.clone(), answers]).warnings;
            assert_eq!(!warnings.is_empty(), warns, "{warnings:?}");
            assert!(!warns || warnings[0].starts_with(&format!("{count} of 4095 sets")), "{warnings:?}");
        }
    }

    #[test]
    fn requests_that_have_more_rows_than_a_server_takes_are_warned_of() {
        for (limits, fact, warning) in [
            (["0", "0"], "unlimited", None),
            (["1000", "0"], "1000", None),
            (["5000", "1001"], "1001", None),
            (["1000", "999"], "999", Some("batch-max-requests is 999, less than batch_rows, 1000")),
            (["0", "1"], "1", Some("batch-max-requests is 1, less than batch_rows, 1000")),
        ] {
            let answers = limits.map(|limit| {
                let mut answers = server("");
                answers[4] = format!("batch-max-requests={limit}");
                answers
            });
            let health = report(&answers);
            assert!(health.facts.contains(&("batch_max_requests".to_owned(), fact.to_owned())), "{health:?}");
            assert_eq!(health.warnings.len(), usize::from(warning.is_some()), "{health:?}");
            assert!(health.warnings.concat().contains(warning.unwrap_or_default()), "{health:?}");
        }
    }

    #[test]
    fn facts_are_the_least_the_most_or_the_sum_of_what_the_servers_say() {
        let mut other = server("master_objects=5");
        for (old, new) in [
            ("ns_cluster_size=3", "ns_cluster_size=4"),
            ("effective_replication_factor=2", "effective_replication_factor=3"),
            ("data_total_bytes=1000", "data_total_bytes=500"),
            ("data_used_pct=62", "data_used_pct=7"),
            ("data_avail_pct=30", "data_avail_pct=29"),
            ("nsup-period=120", "nsup-period=60"),
            ("max-record-size=1048576", "max-record-size=65536"),
            ("storage-engine=device", "storage-engine=memory"),
        ] {
            other[0] = other[0].replace(old, new);
        }
        other[1] = "ns=features:set=t_w:objects=1;ns=features:set=t_x:objects=1;".to_owned();
        other[3] = "8.0.0.0".to_owned();
        let health = report(&[server(""), other]);
        let facts: Vec<_> = health.facts.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            facts,
            [
                ("namespace", "features"),
                ("servers", "2"),
                ("edition", "Community"),
                ("version", "8.0.0.0, 8.1.0.0"),
                ("cluster_size", "3"),
                ("replication_factor", "2"),
                ("records", "15"),
                ("sets", "3 of 4095"),
                ("data_bytes", "1500"),
                ("data_used_percent", "62"),
                ("data_available_percent", "29"),
                ("stop_writes", "false"),
                ("ttl", "taken"),
                ("nsup_period_seconds", "60"),
                ("max_record_size_bytes", "65536"),
                ("batch_max_requests", "1000"),
                ("durable", "false"),
            ]
        );
        let health = report(&[server("stop_writes=true")]);
        for (name, value) in [("stop_writes", "true"), ("durable", "true"), ("version", "8.1.0.0")] {
            assert!(health.facts.contains(&(name.to_owned(), value.to_owned())), "{health:?}");
        }
        let health = report(&[server("nsup-period=0")]);
        assert!(health.facts.contains(&("ttl".to_owned(), "refused".to_owned())), "{health:?}");
    }
}
