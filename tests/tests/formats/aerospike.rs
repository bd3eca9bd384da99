//! What an Aerospike server has, as lines of JSON: the set, the key, and the bins, blobs in hex.

use std::collections::BTreeMap;

use aerospike::{Bin, Bins, Client, ClientPolicy, Key, ReadPolicy, Value, WritePolicy};
use store_aerospike::AerospikeConfig;
use store_testkit::servers::Server;

use super::{Files, Outcome, hex, records, unhex};

const NAMESPACE: &str = "features";

/// Everything in the server that was written to it.
pub(crate) async fn dump(server: &Server) -> Outcome<String> {
    let client = client(server).await?;
    let mut lines = Vec::new();
    for (record, _) in records::all()? {
        let (set, key) = AerospikeConfig::default().set_and_key(&record);
        let found = client.get(&ReadPolicy::default(), &key_of(&set, &key)?, Bins::All).await;
        let bins =
            found.map_err(|error| error.to_string())?.bins.into_iter().map(|(name, value)| match value {
                Value::Blob(bytes) => Ok((name, hex(&bytes))),
                other => Err(format!("the bin {name} is {other:?}")),
            });
        let bins = bins.collect::<Result<BTreeMap<_, _>, _>>()?;
        lines.push(serde_json::json!([set, key, bins]).to_string() + "\n");
    }
    Ok(lines.concat())
}

/// Gives a server what another had.
pub(crate) async fn load(server: &Server, files: &Files) -> Outcome {
    let client = client(server).await?;
    let policy = WritePolicy { send_key: true, ..WritePolicy::default() };
    for (set, key, bins) in files.lines::<(String, String, BTreeMap<String, String>)>("aerospike.jsonl")? {
        let bins = bins.iter().map(|(name, bytes)| Ok(Bin::new(name, Value::Blob(unhex(bytes)?))));
        let bins = bins.collect::<Outcome<Vec<_>>>()?;
        client.put(&policy, &key_of(&set, &key)?, &bins).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn client(server: &Server) -> Outcome<Client> {
    let host = format!("127.0.0.1:{}", server.port().unwrap_or_default());
    Ok(Client::new(&ClientPolicy::default(), &host).await.map_err(|error| error.to_string())?)
}

fn key_of(set: &str, key: &str) -> Outcome<Key> {
    Ok(Key::new(NAMESPACE, set, Value::from(key)).map_err(|error| error.to_string())?)
}
