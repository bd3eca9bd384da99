//! What the servers say about themselves.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use aerospike::{AdminPolicy, Client, Node};
use feature_core::{Error, ErrorKind, Health, Result};
use futures::future::try_join_all;

use crate::backend::{MAX_KEY_BYTES, Shared};
use crate::connect;
use crate::error::{BACKEND, from_client};

/// How many sets a namespace can have.
const MAX_SETS: usize = 4_095;
/// What the server adds to a record's value and key, its own alignment included, in bytes; with room for
/// what later versions may add.
const RECORD_OVERHEAD: usize = 512;

/// The server's own account of a namespace: statistics and settings, by name.
#[derive(Debug)]
struct Account(HashMap<String, String>);

impl Account {
    fn parse(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number<N: FromStr + Default>(&self, name: &str) -> N {
        self.text(name).parse().unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn takes_ttls(&self) -> bool {
        self.number::<u64>("nsup-period") > 0 || self.is("allow-ttl-without-nsup")
    }

    fn is_durable(&self) -> bool {
        let storage = self.text("storage-engine");
        let backed = |name: &String| {
            name.starts_with("storage-engine.file[") || name.starts_with("storage-engine.device[")
        };
        storage != "memory" || self.0.keys().any(backed)
    }
}

/// What does not change while a store is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    max_record_size: usize,
    durable: bool,
}

impl Facts {
    /// Asks every server about the namespace.
    pub(crate) async fn ask(client: &Client, policy: AdminPolicy, namespace: &str) -> Result<Self> {
        let mut accounts = Vec::new();
        let command = format!("namespace/{namespace}");
        for answer in ask(client, policy, namespace, &[&command, "namespaces"]).await? {
            let account = Account::parse(&answer[0]);
            if account.text("type") == "unknown" || account.text("max-record-size").is_empty() {
                let known = answer[1].replace(';', ", ");
                let message = format!(
                    "the namespace `{namespace}` does not exist on the server, which has {known}; add it to the \
                     configuration, or name another"
                );
                return Err(Error::new(ErrorKind::NotConfigured, message).with_backend(BACKEND));
            }
            accounts.push(account);
        }
        // Servers that differ are a mistake, but a record must fit into all of them.
        let sizes = accounts.iter().map(|account| account.number("max-record-size"));
        Ok(Self {
            max_record_size: sizes.min().unwrap_or_default(),
            durable: accounts.iter().all(Account::is_durable),
        })
    }

    /// What remains for the record itself.
    pub(crate) fn max_record_bytes(self) -> usize {
        self.max_record_size.saturating_sub(MAX_KEY_BYTES + RECORD_OVERHEAD).max(1)
    }

    pub(crate) fn durable(self) -> bool {
        self.durable
    }
}

/// The names of the sets that the namespace has.
pub(crate) async fn sets(shared: &Shared) -> Result<BTreeSet<String>> {
    let namespace = &shared.config.namespace;
    let command = format!("sets/{namespace}");
    let answers = ask(shared.client()?, connect::admin(&shared.config), namespace, &[&command]).await?;
    Ok(answers.iter().flat_map(|answer| set_names(&answer[0])).map(str::to_owned).collect())
}

/// The names in `ns=features:set=a:objects=1:…;ns=features:set=b:…;`. They have neither `:` nor `;`.
fn set_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter_map(|set| set.split(':').find_map(|part| part.strip_prefix("set=")))
}

pub(crate) async fn check(shared: &Shared) -> Result<Health> {
    let namespace = &shared.config.namespace;
    let commands = [
        &*format!("namespace/{namespace}"),
        &*format!("sets/{namespace}"),
        "edition",
        "build",
        "get-config:context=service",
    ];
    let answers = ask(shared.client()?, connect::admin(&shared.config), namespace, &commands).await?;
    Ok(health(shared, &answers))
}

fn health(shared: &Shared, answers: &[Vec<String>]) -> Health {
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
    fact("namespace", shared.config.namespace.clone());
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
    let rows = shared.config.batch_rows;
    if let Some(limit) = limit.filter(|limit| *limit < rows as u64) {
        warn(format!(
            "batch-max-requests is {limit}, less than batch_rows, {rows}: lower this, or raise that"
        ));
    }
    health
}

/// Asks every server the same questions; its answers are in the order of the questions.
async fn ask(
    client: &Client,
    policy: AdminPolicy,
    namespace: &str,
    commands: &[&str],
) -> Result<Vec<Vec<String>>> {
    let nodes = client.nodes();
    if nodes.is_empty() {
        let error = Error::new(ErrorKind::Unavailable, "no server of the cluster can be reached");
        return Err(error.with_backend(BACKEND));
    }
    let ask = |node: Arc<Node>| async move {
        let answer = node.info(&policy, commands).await.map_err(|error| from_client(&error, namespace))?;
        let lines = commands.iter().map(|command| answer.get(*command).cloned().unwrap_or_default());
        Ok::<_, Error>(lines.collect())
    };
    try_join_all(nodes.into_iter().map(ask)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_server_are_understood() {
        let text = "ns=f:set=a_b:objects=1:tombstones=0;ns=f:set=c=d%3A:objects=2;";
        assert_eq!(set_names(text).collect::<Vec<_>>(), ["a_b", "c=d%3A"]);
        assert_eq!(set_names("").count(), 0);

        let account = Account::parse(
            "nsup-period=0;allow-ttl-without-nsup=false;storage-engine=memory;storage-engine.filesize=0;objects=x",
        );
        assert!(!account.takes_ttls() && !account.is_durable());
        assert_eq!((account.number::<u64>("objects"), account.text("none")), (0, ""));
        assert!(Account::parse("nsup-period=120").takes_ttls());
        assert!(Account::parse("nsup-period=0;allow-ttl-without-nsup=true").takes_ttls());
        assert!(Account::parse("storage-engine=device").is_durable());
        assert!(Account::parse("storage-engine=memory;storage-engine.file[0]=/data/f").is_durable());
    }
}
