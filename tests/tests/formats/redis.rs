//! What a Redis server has, as lines of JSON: the key, and the value in hex.

use store_testkit::servers::Server;

use super::{Files, Outcome};

const GET: &str = "return (string.gsub(redis.call('GET', KEYS[1]), '.', function(byte)
    return string.format('%02x', string.byte(byte)) end))";
const SET: &str = "return redis.call('SET', KEYS[1], (string.gsub(ARGV[1], '..', function(hex)
    return string.char(tonumber(hex, 16)) end)))";

/// Everything in the server.
pub(crate) async fn dump(server: &Server) -> Outcome<String> {
    let mut lines = Vec::new();
    for key in server.command(&["KEYS", "*"]).await?.items() {
        let value = server.command(&["EVAL", GET, "1", key.text()]).await?;
        lines.push(serde_json::json!([key.text(), value.text()]).to_string() + "\n");
    }
    lines.sort_unstable();
    Ok(lines.concat())
}

/// Gives a server what another had.
pub(crate) async fn load(server: &Server, files: &Files) -> Outcome {
    for [key, value] in files.lines::<[String; 2]>("redis.jsonl")? {
        server.command(&["EVAL", SET, "1", &key, &value]).await?;
    }
    Ok(())
}
