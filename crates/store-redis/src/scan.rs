//! Scans and purges: page by page over every primary, so that no server is blocked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use feature_core::{ErrorKind, PurgeProgress, PurgeReport, RecordKey, Result, Scope, VersionedRecord};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use crate::connect::Node;
use crate::error::{Failure, Next, from_server};
use crate::key;
use crate::read::record;
use crate::resp::{Reply, Request};
use crate::router::Router;

/// How many entries of its table a server looks at for one page.
const PAGE: usize = 512;
/// How long a page may take; other requests are not affected.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Row = Result<(RecordKey, VersionedRecord)>;

/// Walks through the keys of a scope, node after node.
struct Walk {
    router: Arc<Router>,
    scope: Scope,
    pattern: String,
    /// Nodes that are still to be walked through, the current one last; `None` before they are known.
    nodes: Option<Vec<Arc<Node>>>,
    cursor: u64,
    /// What each node of a cluster owned at the beginning.
    owned: Vec<String>,
}

impl Walk {
    fn new(router: &Arc<Router>, scope: &Scope) -> Self {
        Self {
            router: Arc::clone(router),
            scope: scope.clone(),
            pattern: key::pattern(&router.config().key_prefix, scope),
            nodes: None,
            cursor: 0,
            owned: Vec::new(),
        }
    }

    /// The next keys and the node they are on; `None` at the end.
    async fn page(&mut self) -> Result<Option<(Arc<Node>, Vec<Bytes>)>, Failure> {
        if self.nodes.is_none() {
            // Slots may have moved since the last call.
            self.router.learn(Instant::now() + PATIENCE).await?;
            self.owned = self.ownership().await?;
            self.nodes = Some(self.router.primaries());
        }
        let Some(node) = self.nodes.as_ref().and_then(|nodes| nodes.last()).cloned() else {
            // A key that moved from a node not yet walked through to one already done was not seen.
            if self.ownership().await? != self.owned {
                return Err(Failure::new(
                    ErrorKind::Unavailable,
                    "slots of the cluster moved meanwhile, so some records may have been passed over; run it \
                     again",
                    Next::Fail,
                ));
            }
            return Ok(None);
        };
        let (cursor, page) = (self.cursor.to_string(), PAGE.to_string());
        let scan = ["SCAN", &cursor, "MATCH", &self.pattern, "COUNT", &page].map(str::as_bytes);
        let scan = Request::of(scan);
        let reply = node.ask(scan, Instant::now() + PATIENCE).await?;
        let (cursor, keys) = read_page(reply).ok_or_else(|| Failure::garbled(&node.name))?;
        self.cursor = cursor;
        if cursor == 0 {
            self.nodes.as_mut().and_then(Vec::pop);
        }
        Ok(Some((node, keys)))
    }

    /// What each primary says it owns, if this is a cluster.
    ///
    /// # Errors
    /// While slots are being moved.
    async fn ownership(&self) -> Result<Vec<String>, Failure> {
        if !self.router.each_key_alone() {
            return Ok(Vec::new());
        }
        let mut owned = Vec::new();
        for node in self.router.primaries() {
            let question = Request::of([&b"CLUSTER"[..], b"NODES"]);
            let nodes = match node.ask(question, Instant::now() + PATIENCE).await? {
                Reply::Text(text) => String::from_utf8_lossy(&text).into_owned(),
                _ => return Err(Failure::garbled(&node.name)),
            };
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            // id, address, flags, primary, ping, pong, epoch, link, then the slots.
            let slots = own.split(' ').skip(8).collect::<Vec<_>>().join(" ");
            if slots.contains('[') {
                return Err(Failure::new(
                    ErrorKind::Unavailable,
                    format!("{}: slots are being moved ({slots}); run it again afterwards", node.name),
                    Next::Fail,
                ));
            }
            owned.push(format!("{} {slots}", node.name));
        }
        Ok(owned)
    }

    /// Of these keys those of the scope's records; what only looks like one is an error.
    fn records(&self, keys: Vec<Bytes>) -> (Vec<(RecordKey, Bytes)>, Vec<feature_core::Error>) {
        let mut records = Vec::new();
        let mut errors = Vec::new();
        for key in keys {
            match key::decode(&self.router.config().key_prefix, &key) {
                Some(Ok(record)) if self.scope.contains(&record) => records.push((record, key)),
                Some(Err(error)) => errors.push(error),
                _ => {}
            }
        }
        (records, errors)
    }
}

/// A cursor, and the keys that were found on the way to it.
fn read_page(reply: Reply) -> Option<(u64, Vec<Bytes>)> {
    let Reply::Array(parts) = reply else { return None };
    let [Reply::Text(cursor), Reply::Array(keys)] = <[Reply; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let key = |key| match key {
        Reply::Text(key) => Some(key),
        _ => None,
    };
    let cursor = std::str::from_utf8(&cursor).ok()?.parse().ok()?;
    Some((cursor, keys.into_iter().map(key).collect::<Option<_>>()?))
}

pub(crate) fn scan(router: &Arc<Router>, scope: &Scope) -> BoxStream<'static, Row> {
    let pages = stream::unfold(Some(Walk::new(router, scope)), |walk| async move {
        let mut walk = walk?;
        match page_of_rows(&mut walk).await {
            Ok(Some(rows)) => Some((rows, Some(walk))),
            Ok(None) => None,
            Err(failure) => Some((vec![Err(failure.error)], None)),
        }
    });
    pages.flat_map(stream::iter).boxed()
}

async fn page_of_rows(walk: &mut Walk) -> Result<Option<Vec<Row>>, Failure> {
    let Some((node, keys)) = walk.page().await? else { return Ok(None) };
    let (records, errors) = walk.records(keys);
    let mut rows: Vec<Row> = errors.into_iter().map(Err).collect();
    if records.is_empty() {
        return Ok(Some(rows));
    }
    let mut gets = Request::default();
    for (_, key) in &records {
        gets.push([b"GET", &key[..]]);
    }
    let mut replies = node.send(gets, Instant::now() + PATIENCE).await?;
    for (key, _) in records {
        match record(replies.next(), &node.name) {
            Ok(Some(record)) => rows.push(Ok((key, record))),
            // It was removed or has expired since.
            Ok(None) => {}
            Err(failure) => rows.push(Err(failure.error.with_key(&key))),
        }
    }
    Ok(Some(rows))
}

pub(crate) async fn purge(
    router: &Arc<Router>,
    scope: &Scope,
    progress: &PurgeProgress,
) -> Result<PurgeReport, Failure> {
    let mut walk = Walk::new(router, scope);
    let mut report = PurgeReport::default();
    while let Some((node, keys)) = walk.page().await? {
        let (records, _) = walk.records(keys);
        if records.is_empty() {
            continue;
        }
        let mut unlinks = Request::default();
        for (_, key) in &records {
            unlinks.push([b"UNLINK", &key[..]]);
        }
        let mut replies = node.send(unlinks, Instant::now() + PATIENCE).await?;
        for _ in records {
            match replies.next() {
                Some(Reply::Int(removed)) => {
                    let removed = u64::try_from(removed).unwrap_or_default();
                    report.removed += removed;
                    progress.add(removed);
                }
                Some(Reply::Error(error)) => return Err(from_server(&error, &node.name)),
                _ => return Err(Failure::garbled(&node.name)),
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedisConfig;
    use crate::router::tests::router;

    #[test]
    fn of_the_keys_that_fit_a_pattern_those_of_the_scope_are_kept() {
        let router = router(RedisConfig::default());
        let walk = Walk::new(&router, &Scope::view("t", "v").unwrap());
        let keys = ["feast:t:v:id=1", "feast:t:w:id=1", "feast:t:v:", "other:t:v:id=1", "feast:t:v:id=2"];
        let (records, errors) = walk.records(keys.map(Bytes::from).to_vec());
        let found: Vec<_> = records.iter().map(|(key, text)| (key.to_string(), &text[..])).collect();
        let expected = |id: i64| (format!("t:v:id={id}"), format!("feast:t:v:id={id}"));
        let expected = [expected(1), expected(2)];
        assert!(
            found
                .iter()
                .map(|(key, text)| (&**key, *text))
                .eq(expected.iter().map(|(key, text)| (&**key, text.as_bytes())))
        );
        assert!(matches!(&errors[..], [error] if error.kind() == ErrorKind::Corrupt), "{errors:?}");
    }

    #[test]
    fn a_page_is_a_cursor_and_keys() {
        let text = |text: &'static str| Reply::Text(Bytes::from(text));
        let page = |cursor, keys| read_page(Reply::Array(vec![cursor, Reply::Array(keys)]));
        assert_eq!(page(text("17"), vec![text("a")]), Some((17, vec![Bytes::from("a")])));
        assert_eq!(page(text("0"), vec![]), Some((0, vec![])));
        for nonsense in
            [page(text("x"), vec![]), page(Reply::Int(1), vec![]), page(text("1"), vec![Reply::Nil])]
        {
            assert_eq!(nonsense, None);
        }
        assert_eq!(read_page(Reply::Nil), None);
        assert_eq!(read_page(Reply::Array(vec![text("0")])), None);
    }
}
