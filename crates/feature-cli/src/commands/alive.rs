//! `serve --check`: whether the server of this machine is alive, for what watches over it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::cli::{ServeArgs, Target};
use crate::exit::{Exit, Failure, Result};
use crate::settings;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `/livez` on the admin port. With `--admin` the settings are not looked at, so that a mistake in them does
/// not make a server look dead that still serves what was there before.
pub(super) fn check(target: &Target, args: &ServeArgs) -> Result<Exit> {
    let admin = match (args.admin, target) {
        (Some(address), _) => Some(address),
        (None, Target::Settings(file)) => settings::load_all(file)?.1.admin,
        (None, Target::Store(_)) => feature_server::settings::ServerSettings::default().admin,
    };
    let admin = admin.ok_or_else(|| {
        Failure::Usage(
            "the settings switch the admin port off, which is what is asked: see `server.admin`".to_owned(),
        )
    })?;
    let address = reachable(admin);
    let answer = ask(address).map_err(|e| Failure::Other(format!("no server answers on {address}: {e}")))?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(Exit::Done),
        _ => Err(Failure::Other(format!("the server on {address} is not alive: {}", answer.trim_end()))),
    }
}

/// Where to reach what listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

/// The first line of the answer.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    // The first line alone counts.
    stream.take(1024).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (address, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
