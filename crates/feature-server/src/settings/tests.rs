//! What is wrong with the section is found, and `docs/serving.md` says what it may have.

use std::collections::BTreeMap;

use store_unified::SettingsFormat;

use super::*;

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn read_server(server: &str) -> Result<ServerSettings, Vec<String>> {
    let text = format!("stores: {{ main: 'embedded:' }}\nserver:\n{server}");
    let reader = store_unified::SettingsReader::new(SettingsFormat::Yaml);
    read(&reader, &text)
        .map(|(_, server)| server)
        .map_err(|problems| problems.iter().map(|problem| format!("{}: {problem}", problem.line)).collect())
}

#[test]
fn everything_can_be_said() {
    let server = read_server(&format!(
        "  listen: '[::]:80'
  admin: off
  tls: {{ certificate: a, key: b, client_authorities: c }}
  auth:
    keys: [{{ name: k, sha256: {HASH}, tenants: [acme, 'eu-*'], rights: [read, admin] }}]
    clients: [{{ subject: s, tenants: ['*'], rights: [write] }}]
    jwt: {{ issuer: i, audience: a, jwks: keys.json, jwks_refresh: 1m, jwks_authorities: ca.pem, leeway: 1s }}
  limits: {{ body: 1MiB, rows: 2, cells: 3, response: 4, in_flight: 5, ingests: 8, connections: 6, memory: 7KB }}
  timeouts: {{ header: 1s, idle: 2s, write: 3s, request: 4s, drain: 0s, slow: 5s }}
  feast: {{ tenant: t, project: p, push_sources: {{ a: b }}, join_keys: {{ id: int64 }} }}"
    ))
    .unwrap();
    assert_eq!((server.listen.port(), server.admin), (80, None));
    let auth = server.auth.unwrap();
    assert!(auth.keys[0].grant.rights.contains(crate::Right::Admin));
    assert_eq!((auth.keys[0].hash.to_hex().as_str(), &*auth.clients[0].grant.name), (HASH, "s"));
    assert_eq!(auth.jwt.unwrap().jwks, JwksSource::File("keys.json".into()));
    assert_eq!((server.limits.body, server.limits.memory), (1 << 20, 7000));
    assert_eq!((server.timeouts.drain, server.timeouts.slow), (Duration::ZERO, Duration::from_secs(5)));
    assert_eq!(server.feast.push_sources["a"], "b");
    assert_eq!(server.feast.join_keys["id"], ValueType::Int64);
    assert_eq!(read_server("  insecure: false").unwrap(), ServerSettings::default());
}

#[test]
fn every_mistake_is_said_with_its_line() {
    let said = read_server(&format!(
        "  listen: 0.0.0.0:80
  admin: nowhere
  limits: {{ rows: 0 }}
  timeouts: {{ header: 0s }}
  feast: {{ join_keys: {{ id: float64 }} }}
  auth:
    keys:
      - {{ name: k, sha256: abc, tenants: [], rights: [reed] }}
      - {{ name: k, sha256: {HASH}, tenants: [a], rights: [read] }}
      - {{ name: k, sha256: {HASH}, tenants: [a], rights: [read] }}
    clients: [{{ subject: s, tenants: ['a*b'], rights: [read] }}]"
    ))
    .unwrap_err();
    let expected = [
        "4: server.admin: expected an address and a port",
        "5: server.limits.rows: expected a whole number from 1",
        "6: server.timeouts.header: expected a duration of at least 1ms",
        "7: server.feast.join_keys.id: a join key is string, int32 or int64, not float64",
        "10: server.auth.keys[0].sha256: expected the SHA-256 of a key",
        "10: server.auth.keys[0].tenants: it names no tenant",
        "10: server.auth.keys[0].rights[0]: there is no right `reed`; did you mean `read`?",
        "12: server.auth.keys[2]: it is there twice; the first is in line 11",
        "13: server.auth.clients[0].tenants[0]: `a*b` is not a pattern",
        "2: server: `auth.clients` needs `tls.client_authorities`",
    ];
    for expected in expected {
        assert!(said.iter().any(|said| said.starts_with(expected)), "{expected}\n{said:#?}");
    }
    assert_eq!(said.len(), expected.len(), "{said:#?}");
}

#[test]
fn without_auth_it_listens_on_this_machine_only() {
    for (server, right) in [
        ("  listen: 127.0.0.1:80", true),
        ("  listen: '[::1]:80'", true),
        ("  listen: 10.0.0.1:80", false),
        ("  listen: 0.0.0.0:80\n  insecure: true", true),
        ("  listen: 0.0.0.0:80\n  auth: {}", false),
    ] {
        let said = read_server(server).map(drop);
        assert_eq!(said.is_ok(), right, "{server}: {said:?}");
    }
}

/// A section in which every map has a key that nobody knows, so that each says which it knows.
const UNKNOWN: &str = "  zzzzzzzz: 1
  tls: { zzzzzzzz: 1 }
  auth: { zzzzzzzz: 1, keys: [{ zzzzzzzz: 1 }], clients: [{ zzzzzzzz: 1 }], jwt: { zzzzzzzz: 1 } }
  limits: { zzzzzzzz: 1 }
  timeouts: { zzzzzzzz: 1 }
  feast: { zzzzzzzz: 1 }";

#[test]
fn every_key_is_in_the_document_and_no_other() {
    const DOC: &str = include_str!("../../../../docs/serving.md");
    let mut known = BTreeMap::new();
    for said in read_server(UNKNOWN).unwrap_err() {
        let Some((path, keys)) = said.split_once(".zzzzzzzz: unknown key; known are ") else { continue };
        let heading = path.rsplit(['.', ' ']).next().unwrap().trim_end_matches("[0]").to_owned();
        let keys: std::collections::BTreeSet<String> = keys.split(", ").map(str::to_owned).collect();
        known.insert(heading, keys);
    }
    assert_eq!(known.len(), 9, "{known:?}");
    for (heading, keys) in known {
        let title = if heading == "server" {
            "## The section `server`\n".to_owned()
        } else {
            format!("### `{heading}`\n")
        };
        let (_, section) = DOC.split_once(&title).unwrap_or_else(|| panic!("no {title}"));
        let section = section.split("\n#").next().unwrap();
        let documented =
            section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
        assert_eq!(documented.collect::<std::collections::BTreeSet<_>>(), keys, "{heading}");
    }
}
