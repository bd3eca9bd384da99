//! What the servers say about themselves.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use aerospike::{AdminPolicy, Client, Node};
use feature_core::{Error, ErrorKind, Result};
use futures::future::try_join_all;

use crate::config::{AerospikeConfig, millis};
use crate::error::{BACKEND, from_client};
use crate::key::MAX_KEY_BYTES;

/// What the server adds to a record's value and key, its own alignment included, in bytes; with room for
/// what later versions may add.
const RECORD_OVERHEAD: usize = 512;

/// The server's own account of a namespace: statistics and settings, by name.
#[derive(Debug)]
pub(crate) struct Account(HashMap<String, String>);

impl Account {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number<N: FromStr + Default>(&self, name: &str) -> N {
        self.text(name).parse().unwrap_or_default()
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// Whether the server has the namespace that it was asked about.
    fn is_of_a_namespace(&self) -> bool {
        self.text("type") != "unknown" && !self.text("max-record-size").is_empty()
    }

    pub(crate) fn takes_ttls(&self) -> bool {
        self.number::<u64>("nsup-period") > 0 || self.is("allow-ttl-without-nsup")
    }

    pub(crate) fn is_durable(&self) -> bool {
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
    pub(crate) async fn ask(client: &Client, config: &AerospikeConfig) -> Result<Self> {
        let namespace = &config.namespace;
        let mut accounts = Vec::new();
        let command = format!("namespace/{namespace}");
        for answer in ask(client, config, &[&command, "namespaces"]).await? {
            let account = Account::parse(&answer[0]);
            if !account.is_of_a_namespace() {
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
pub(crate) async fn sets(client: &Client, config: &AerospikeConfig) -> Result<BTreeSet<String>> {
    let command = format!("sets/{}", config.namespace);
    let answers = ask(client, config, &[&command]).await?;
    Ok(answers.iter().flat_map(|answer| set_names(&answer[0])).map(str::to_owned).collect())
}

/// The names in `ns=features:set=a:objects=1:…;ns=features:set=b:…;`. They have neither `:` nor `;`.
pub(crate) fn set_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter_map(|set| set.split(':').find_map(|part| part.strip_prefix("set=")))
}

/// Asks every server the same questions; its answers are in the order of the questions.
pub(crate) async fn ask(
    client: &Client,
    config: &AerospikeConfig,
    commands: &[&str],
) -> Result<Vec<Vec<String>>> {
    let policy = AdminPolicy { timeout: millis(config.socket_timeout) };
    let nodes = client.nodes();
    if nodes.is_empty() {
        let error = Error::new(ErrorKind::Unavailable, "no server of the cluster can be reached");
        return Err(error.with_backend(BACKEND));
    }
    let ask = |node: Arc<Node>| async move {
        let answer = node.info(&policy, commands).await;
        let answer = answer.map_err(|error| from_client(&error, &config.namespace))?;
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
        assert!(!account.is("storage-engine") && !account.is("none"));
        assert!(Account::parse("stop_writes=true").is("stop_writes"));
        assert!(Account::parse("nsup-period=1").takes_ttls());
        assert!(Account::parse("nsup-period=0;allow-ttl-without-nsup=true").takes_ttls());
        assert!(Account::parse("storage-engine=device").is_durable());
        assert!(Account::parse("storage-engine=memory;storage-engine.file[0]=/data/f").is_durable());
        assert!(Account::parse("storage-engine=memory;storage-engine.device[0]=/dev/a").is_durable());
    }

    #[test]
    fn an_account_of_what_the_server_does_not_have_is_none_of_a_namespace() {
        for (text, expected) in [
            ("ns_cluster_size=1;max-record-size=1048576", true),
            ("type=unknown", false),
            ("type=unknown;max-record-size=1048576", false),
            ("ns_cluster_size=1", false),
            ("", false),
        ] {
            assert_eq!(Account::parse(text).is_of_a_namespace(), expected, "{text}");
        }
    }

    #[test]
    fn a_record_has_what_key_and_overhead_leave() {
        let facts = |max_record_size, durable| Facts { max_record_size, durable };
        assert_eq!(facts(1 << 20, false).max_record_bytes(), 1_048_576 - 4_096 - 512);
        assert_eq!(facts(4_610, false).max_record_bytes(), 2);
        assert_eq!(facts(0, false).max_record_bytes(), 1);
        assert!(facts(1, true).durable() && !facts(1, false).durable());
    }
}
