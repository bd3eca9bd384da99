//! Store URLs from constructors' arguments.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pyo3::prelude::*;

/// What need not be written differently in a part of a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The URL of a store on these hosts.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python gives it away")]
#[pyo3(signature = (scheme, hosts, username, password, path, parameters))]
pub(crate) fn store_url(
    scheme: &str,
    hosts: Vec<(String, u16)>,
    username: Option<&str>,
    password: Option<&str>,
    path: Option<&str>,
    parameters: Vec<(String, String)>,
) -> String {
    let plain = |text| utf8_percent_encode(text, PLAIN);
    let mut url = format!("{scheme}://");
    // Writing to a string cannot fail.
    if username.is_some() || password.is_some() {
        let _ = write!(url, "{}", plain(username.unwrap_or_default()));
        if let Some(password) = password {
            let _ = write!(url, ":{}", plain(password));
        }
        url.push('@');
    }
    for (at, (host, port)) in hosts.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let is_address = host.contains(':') && !host.starts_with('[');
        let _ = if is_address {
            write!(url, "{comma}[{host}]:{port}")
        } else {
            write!(url, "{comma}{host}:{port}")
        };
    }
    if let Some(path) = path {
        let _ = write!(url, "/{}", plain(path));
    }
    for (at, (name, value)) in parameters.iter().enumerate() {
        let _ = write!(url, "{}{}={}", if at > 0 { '&' } else { '?' }, plain(name), plain(value));
    }
    url
}
